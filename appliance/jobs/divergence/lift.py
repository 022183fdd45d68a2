"""What an operator decides after an incident: believe a log again, or read it elsewhere."""

from __future__ import annotations

from typing import Any, Final

from appliance.errors import ConfigError
from appliance.policy.alarms import Anomaly
from appliance.store.database import Store
from appliance.store.divergence.alerts import end_alert, lasting_alerts_of
from appliance.store.divergence.quarantine import Quarantine, lift_quarantine, require_quarantine
from appliance.store.home.journal import append_event, last_lines
from appliance.store.mirror.logs import (
    require_backend,
    require_log,
    set_backend_enabled,
    swap_primary,
)

_FAILOVERS: Final = 100  # that are looked back on
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


def fail_over(store: Store, name: str, mirror: str, now: int, *, dry_run: bool) -> bool:
    """Make the backend `mirror` the primary in place of `name`; return whether that stays on.

    It is switched off, unless this is the way back from a failover: then it is a mirror again
    and as it was before. Raises ConfigError if there is no such backend, or it is no mirror of
    that one.
    """
    with store.atomic(dry_run=dry_run):
        target = require_backend(store, mirror)
        if target.mirror_of != require_backend(store, name).name:
            raise ConfigError(
                f"backend {mirror!r} is no mirror of {name!r}",
                reason="not-a-mirror",
                next_step="see 'attestor backend list'; a mirror is added with --mirror-of",
            )
        enabled = _was_enabled(store, name, mirror)
        swap_primary(store, name, mirror)
        set_backend_enabled(store, name, enabled=enabled)
        facts = {"from": name, "to": mirror, "wasEnabled": target.enabled}
        append_event(store, now, "backend.failover", facts)
    return enabled


def _was_enabled(store: Store, name: str, mirror: str) -> bool:
    """Return whether `name` was on when it took over from `mirror`; False: it never did.

    A way back ends what it leads back from: what comes after it is a failover anew.
    """
    there: dict[str, Any] | None = None
    for line in last_lines(store, _FAILOVERS, "backend.failover"):
        facts = line.facts
        if {facts["from"], facts["to"]} == {name, mirror}:
            is_back = there is not None and facts["to"] == there["from"]
            there = None if is_back else facts
    return there is not None and there["to"] == name and bool(there.get("wasEnabled", True))
