"""A log's answer verified under its pinned keys (verify_receipt), and the bundle it finishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.errors import (
    IncompleteError,
    ProofError,
    RefusedError,
    RemoteError,
    SignatureError,
)
from appliance.rekor.entry_inclusion import verify_entry_inclusion, verify_own_promise
from appliance.rekor.transparency_log_entry import TransparencyLogEntry, parse_log_entry
from appliance.sigstore.bundle_making import finish_bundle
from appliance.store.database import Store
from appliance.store.mirror.logs import REKOR_V1, Log, all_logs, signed_origin
from appliance.store.queue.attempts import receipt_of
from appliance.store.queue.queue import CANCELLED, REFUSED, QueueItem
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint

if TYPE_CHECKING:
    from appliance.sigstore.submission import Claim


def verify_receipt(log: Log, claim: Claim, entry: TransparencyLogEntry) -> SignedCheckpoint:
    """Verify that `entry` is what `claim` asked for, and is in `log`; return the checkpoint.

    Raises SignatureError (entry-mismatch, wrong-log, wrong-origin, bad-set, …), ProofError
    (no-proof, checkpoint-mismatch, index-mismatch, proof) or MalformedError.
    """
    claim.check_body(entry.canonicalized_body)
    if (entry.kind, entry.version) != (claim.kind, claim.version):
        raise SignatureError(
            f"the entry is a {claim.kind} {claim.version}, the log calls it"
            f" {entry.kind[:40]} {entry.version[:40]}",
            reason="entry-mismatch",
        )
    proof = entry.inclusion_proof
    if proof is None or not proof.checkpoint:
        raise ProofError(
            f"{log.origin}: the answer has no inclusion proof with a checkpoint", reason="no-proof"
        )
    note = proof.checkpoint.encode()
    signed = open_checkpoint(note, log.keys, signed_origin(log, note))
    is_v1 = log.api_version == REKOR_V1
    verify_entry_inclusion(entry, signed, {key.log_id for key in signed.signers}, is_v1=is_v1)
    verify_own_promise(entry, signed, is_v1=is_v1)
    return signed


def log_of_entry(store: Store, entry: TransparencyLogEntry) -> Log:
    """Return the log an entry says it is in; raises IncompleteError if we pinned none such."""
    for log in all_logs(store):
        if any(key.log_id == entry.log_id for key in log.keys):
            return log
    raise IncompleteError(
        f"no key is pinned for the log {entry.log_id.hex()}",
        reason="no-log-key",
        next_step="pin the log's key: attestor backend add ID --origin O --public-key FILE",
    )


def finished_bundle(store: Store, item: QueueItem) -> bytes:
    """Return the Sigstore bundle (0.3) of an item, with stamps and log entry.

    Raises RemoteError (not-logged) as long as it waits for a log, RefusedError (cancelled,
    refused) if it waits no more, IncompleteError if it came from another site, which alone has
    what was signed.
    """
    receipt = receipt_of(store, item)
    if receipt is None and item.state in (CANCELLED, REFUSED):
        raise RefusedError(
            f"item {item.id[:12]} is {item.state}: no proof will come",
            reason=item.state,
            next_step=f"see 'attestor queue show {item.id[:12]}'; to send it after all:"
            f" attestor queue retry {item.id[:12]}",
        )
    if receipt is None:
        raise RemoteError(
            f"item {item.id[:12]} is {item.state}: it has no proof yet",
            reason="not-logged",
            next_step="attestor queue drain, or wait for its proof to come back",
        )
    if item.what.unfinished is None:
        raise IncompleteError(
            f"item {item.id[:12]} came from {item.what.site}: what was signed is there",
            reason="made-elsewhere",
            next_step="its proof travels back: attestor export --include-pending",
        )
    return finish_bundle(item.what.unfinished, parse_log_entry(receipt))
