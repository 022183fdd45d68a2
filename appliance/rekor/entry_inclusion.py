"""Is a log entry in the tree of a checkpoint: every member of it that says so is compared."""

from __future__ import annotations

from collections.abc import Collection

from appliance.errors import ProofError, SignatureError
from appliance.rekor.set import verify_set
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.proof import verify_inclusion


def verify_entry_inclusion(
    entry: TransparencyLogEntry,
    signed: SignedCheckpoint,
    log_ids: Collection[bytes],
    *,
    is_v1: bool,
) -> None:
    """Verify that `entry` is in the tree `signed`, of the log that has `log_ids`.

    Raises ProofError: no-proof, checkpoint-mismatch if size or root are not the checkpoint's,
    index-mismatch if an entry of a v2 log has two indices (that of a v1 log counts over all
    its trees), or what the proof itself is wrong by; SignatureError (wrong-log).
    """
    proof, head = entry.inclusion_proof, signed.head
    if proof is None:
        raise ProofError(f"{signed.origin}: the entry has no inclusion proof", reason="no-proof")
    if entry.log_id not in log_ids:
        raise SignatureError(
            f"{signed.origin}: the answer is of log {entry.log_id.hex()}, the checkpoint is signed"
            f" by {', '.join(sorted(one.hex() for one in log_ids))}",
            reason="wrong-log",
        )
    if (proof.tree_size, proof.root_hash) != (head.tree_size, head.root_hash):
        raise ProofError(
            f"{signed.origin}: inclusion proof leads to size {proof.tree_size} root"
            f" {proof.root_hash.hex()}, the checkpoint says {head}",
            reason="checkpoint-mismatch",
        )
    if not is_v1 and entry.log_index != proof.entry_index:
        raise ProofError(
            f"{signed.origin}: log entry {entry.log_index} with an inclusion proof of entry"
            f" {proof.entry_index}",
            reason="index-mismatch",
        )
    verify_inclusion(proof.entry_index, leaf_hash(entry.canonicalized_body), head, proof.hashes)


def verify_own_promise(
    entry: TransparencyLogEntry, signed: SignedCheckpoint, *, is_v1: bool
) -> None:
    """Verify the signed entry timestamp beside a proof, if there is one, by the tree's signer.

    Raises SignatureError: bad-set, or set-in-v2 since a Rekor v2 log makes none.
    """
    if entry.inclusion_promise is None:
        return
    if not is_v1:
        raise SignatureError(
            f"{signed.origin}: a signed entry timestamp by a Rekor v2 log, which makes none",
            reason="set-in-v2",
        )
    [key, *_] = [signer for signer in signed.signers if signer.log_id == entry.log_id]
    verify_set(entry, key)
