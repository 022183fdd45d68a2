"""What an operator decides after an incident: believe a log again, or read it elsewhere."""

from __future__ import annotations

from typing import Final

from appliance.errors import ConfigError
from appliance.policy.alarms import Anomaly
from appliance.store.database import Store
from appliance.store.divergence.alerts import end_alert, lasting_alerts_of
from appliance.store.divergence.quarantine import Quarantine, lift_quarantine, require_quarantine
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import require_backend, require_log, swap_primary

_LIFTED: Final = frozenset(
    one.value for one in (Anomaly.ROOT_MISMATCH, Anomaly.FORK, Anomaly.ROLLBACK, Anomaly.CROSS_LOG)
)


def lift(
    store: Store, quarantine_id: int, reason: str, now: int, *, dry_run: bool
) -> tuple[Quarantine, tuple[int, ...]]:
    """Lift a quarantine and end the critical alerts of its contradictions.

    Returns it as it was, and the numbers of the alerts; none if it was lifted before.
    Raises IncompleteError if there is none of this id.
    """
    with store.atomic(dry_run=dry_run):
        one = require_quarantine(store, quarantine_id)
        if one.lifted_at is not None:
            return one, ()
        lift_quarantine(store, one, now, reason)
        ended = [
            alert.number
            for alert in lasting_alerts_of(store, require_log(store, one.origin))
            if alert.type in _LIFTED and alert.severity == "critical"
            if end_alert(store, alert.condition, now)
        ]
    return one, tuple(ended)


def fail_over(store: Store, name: str, mirror: str, now: int, *, dry_run: bool) -> None:
    """Make the backend `mirror` the primary in place of `name`, which is disabled.

    Raises ConfigError if there is no such backend, or it is no mirror of that one.
    """
    with store.atomic(dry_run=dry_run):
        if require_backend(store, mirror).mirror_of != require_backend(store, name).name:
            raise ConfigError(
                f"backend {mirror!r} is no mirror of {name!r}",
                reason="not-a-mirror",
                next_step="see 'attestor backend list'; a mirror is added with --mirror-of",
            )
        swap_primary(store, name, mirror)
        append_event(store, now, "backend.failover", {"from": name, "to": mirror})
