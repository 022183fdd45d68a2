"""Proofs in two steps: an entry in one log, whose checkpoint is an entry of another.

A two-step proof is a tlog-proof (c2sp.org/tlog-proof) of the first log, with the second
step as its extra data: JSON, `{"upstream": TransparencyLogEntry}`, whose hashedrekord is
over the SHA-256 of the first log's checkpoint, the signed note byte for byte. Who knows
only the first log's key can verify the first step alone; the extra data is authenticated
by the second log's key and by nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from appliance.errors import DigestError, MalformedError, ProofError, SignatureError
from appliance.rekor.entry import Digest, HashedRekord, parse_entry
from appliance.rekor.entry_inclusion import verify_entry_inclusion, verify_own_promise
from appliance.rekor.protojson import top_message
from appliance.rekor.transparency_log_entry import (
    TransparencyLogEntry,
    format_log_entry,
    read_log_entry,
)
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.note import parse_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.strict_json import parse_json
from appliance.tlog.tlog_proof import MAX_EXTRA_BYTES, TlogProof
from appliance.value import frozen, replaced

_UPSTREAM: Final = "upstream"
_START: Final = b'{"upstream":'

KeysOf = Callable[[str], Sequence[VerifierKey]]  # the keys of a log by its origin


@frozen
class UpstreamStep:
    """The second step, verified."""

    origin: str
    entry: TransparencyLogEntry
    checkpoint: SignedCheckpoint


def note_digest(note: bytes) -> Digest:
    """Return what the second log holds of the first one's checkpoint."""
    return Digest("sha256", sha256(note).digest())


def with_upstream(proof: TlogProof, upstream: TransparencyLogEntry) -> TlogProof:
    """Add the second step to a proof; raises ValueError if it is too large."""
    step = {_UPSTREAM: format_log_entry(upstream)}
    return replaced(proof, extra=json.dumps(step, separators=(",", ":")).encode())


def verify_upstream(proof: TlogProof, keys_of: KeysOf) -> UpstreamStep | None:
    """Verify the second step of a proof; None if it has only one.

    Extra data of another kind is somebody else's, and no second step. Raises DigestError
    if the entry is over something else than the checkpoint, ProofError, SignatureError or
    MalformedError, and what `keys_of` raises.
    """
    if not proof.extra.startswith(_START):
        return None
    value = parse_json(proof.extra, "extra data of the proof", MAX_EXTRA_BYTES)
    if not isinstance(value, dict) or set(value) != {_UPSTREAM}:
        raise MalformedError("extra data of the proof: expected one member, upstream")
    entry = read_log_entry(top_message(value[_UPSTREAM], _UPSTREAM))
    body = parse_entry(entry.canonicalized_body)
    expected = note_digest(proof.note)
    if not isinstance(body, HashedRekord) or body.data != expected:
        raise DigestError(
            f"the second step is over {body.data if isinstance(body, HashedRekord) else body.kind},"
            f" the checkpoint of the first is {expected}",
            reason="upstream-digest",
        )
    step = entry.inclusion_proof
    if step is None or not step.checkpoint:
        raise ProofError("the second step has no inclusion proof", reason="no-proof")
    note = step.checkpoint.encode()
    origin = parse_note(note).text.partition("\n")[0]
    checkpoint = open_checkpoint(note, keys_of(origin), origin)
    # The second log is a Rekor v2 log (jobs/queue/aggregate.py); nothing of v1 is taken here.
    verify_entry_inclusion(
        entry, checkpoint, {signer.log_id for signer in checkpoint.signers}, is_v1=False
    )
    verify_own_promise(entry, checkpoint, is_v1=False)
    if (entry.kind, entry.version) != (body.kind, body.version) or entry.integrated_time:
        raise SignatureError(
            f"the second step is a {body.kind} {body.version} without a time, it says"
            f" {entry.kind[:40]} {entry.version[:40]} at {entry.integrated_time}",
            reason="entry-mismatch",
        )
    return UpstreamStep(origin, entry, checkpoint)
