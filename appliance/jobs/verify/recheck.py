"""Judge recorded verdicts again, when a new trusted root or an alert arrives.

Where a Sigstore bundle contradicts our tree, the evidence is kept (`keep_contradiction`).
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.jobs.divergence.gossip import report_seen_contradiction
from appliance.jobs.verify.asked import read_signer
from appliance.jobs.verify.judged import Demands, Verdict
from appliance.jobs.verify.verify import verify_under
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.sigstore.digests import read_named
from appliance.sigstore.log_trust import LogTrust
from appliance.store.database import Store
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.verify.verdicts import RecordedVerdict


def judge_again(
    store: Store, recorded: RecordedVerdict, trusts: Sequence[LogTrust], demands: Demands
) -> Verdict:
    """Judge a recorded question with today's keys and mirror."""
    return verify_under(
        store,
        trusts,
        parse_attestation_file(recorded.bundle),
        read_named(recorded.digests),
        read_signer(recorded.expected),
        demands,
    )


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
