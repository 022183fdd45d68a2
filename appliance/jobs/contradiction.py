"""Keep the evidence when a Sigstore bundle contradicts our tree (SPEC.md section 7)."""

from __future__ import annotations

from appliance.jobs.verify import Verdict
from appliance.policy.relate import Rule
from appliance.store.database import Store
from appliance.store.evidence import keep_evidence
from appliance.store.logs import require_log


def keep_contradiction(store: Store, verdict: Verdict, source: str, now: int) -> int:
    """Store both signed notes, ours and the Sigstore bundle's, and return the evidence's id.

    `source` names the file it was found in. Raises ValueError for a verdict that is no
    contradiction, IncompleteError or StoreError if it cannot be stored.
    """
    log, ours, view = verdict.verification.log, verdict.checkpoint, verdict.own_view
    if log is None or log.checkpoint is None or ours is None or view.expected_root is None:
        raise ValueError("a verdict without a contradiction")
    theirs = log.checkpoint
    return keep_evidence(
        store,
        require_log(store, log.origin),
        rule=Rule.ROOT_MISMATCH.value,
        ours=ours.note,
        theirs=theirs.note,
        details={
            "treeSize": theirs.head.tree_size,
            "expectedRootHash": f"sha256:{view.expected_root.hex()}",
            "actualRootHash": f"sha256:{theirs.head.root_hash.hex()}",
            "source": source,
        },
        detected_at=now,
    )
