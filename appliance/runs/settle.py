"""What a run leaves true about this home, whichever command it was: alerts begun, alerts over.

Best effort, after the answer is known, without the lock: each is one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from appliance.errors import ApplianceError, CorruptError

if TYPE_CHECKING:  # most runs end well and wrote nothing: they load nothing of this
    from appliance.runs.session import Session


def settle(session: Session, errors: Sequence[ApplianceError]) -> None:
    """Raise the alert for damage that a reader met; end alerts whose cause a writer took away."""
    damage = [one for one in errors if isinstance(one, CorruptError) and not one.is_told]
    with suppress(Exception):  # nothing of this may take the place of what the run had to say
        if damage:
            _tell(session, damage)
        elif session.opened.is_writable:
            _end(session)


def _tell(session: Session, damage: Sequence[CorruptError]) -> None:
    from appliance.jobs.divergence.judge import report_damage
    from appliance.store.mirror.logs import find_log
    from appliance.store.references import origin_of

    with session.writing_unlocked() as store:
        for error in damage:
            origin = error.origin or origin_of(store, error.blobs)
            log = find_log(store, origin) if origin else None
            if log is not None:
                report_damage(store, log, error, session.now())


def _end(session: Session) -> None:
    from appliance.jobs.divergence.judge import SiteChanges, apply_site, judge_site
    from appliance.policy.alarms import HOME
    from appliance.runs.clock import RunClock
    from appliance.store.divergence.alerts import alerts

    with session.reading() as store:
        if not any(one.event_type == HOME for one in alerts(store, lasting=True)):
            return
        # As the next run will see it: this one may have healed the clock itself.
        clock = RunClock(session.home, session.clock.system)
        over = judge_site(store, clock(), clock.behind).over
    if over:
        with session.writing_unlocked() as store:
            apply_site(store, SiteChanges(over=over), clock())
