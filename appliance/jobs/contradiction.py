"""Keep the evidence when a Sigstore bundle contradicts our tree (SPEC.md section 7)."""

from __future__ import annotations

from appliance.jobs.gossip import report_seen_contradiction
from appliance.jobs.verify import Verdict
from appliance.store.checkpoints import Arrival
from appliance.store.database import Store
from appliance.store.logs import require_log
from appliance.store.mirror import Mirror


def keep_contradiction(store: Store, verdict: Verdict, source: str, now: int) -> int | None:
    """Store both signed notes, raise the alert, quarantine the log; return the evidence's id.

    `source` names the file it was found in. Raises ValueError for a verdict that is no
    contradiction, IncompleteError or StoreError if it cannot be stored.
    """
    log, ours = verdict.verification.log, verdict.checkpoint
    if log is None or log.checkpoint is None or ours is None:
        raise ValueError("a verdict without a contradiction")
    mirror = Mirror(store, require_log(store, log.origin))
    arrival = Arrival("seen", source, now)
    return report_seen_contradiction(mirror, ours, log.checkpoint, arrival).evidence_id
