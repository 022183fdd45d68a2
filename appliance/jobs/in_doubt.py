"""A quarantined log is not written to: what would its proofs be worth? (SPEC.md section 7)"""

from __future__ import annotations

from appliance.errors import RefusedError
from appliance.store.database import Store
from appliance.store.logs import Log
from appliance.store.quarantine import quarantine_of


def in_doubt(store: Store, log: Log) -> RefusedError | None:
    """Return why nothing may be sent to a log now; None: it may."""
    held = quarantine_of(store, log)
    if held is None:
        return None
    return RefusedError(
        f"nothing is sent to {log.origin}: it contradicted itself (alert {held.alert_number}) and"
        f" is quarantined; what waits stays as it is",
        reason="quarantined",
        next_step="find out which story is true (docs/runbook.md), then: attestor quarantine lift"
        f" {held.id} --reason TEXT; or send to another log, rekor.serverUrl",
    )
