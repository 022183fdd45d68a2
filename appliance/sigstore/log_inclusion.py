"""Is the entry in the log: the checkpoint and the Merkle proof to it (docs/verification.md).

    v1   origin "host - tree id": the signature line's name is some host, not compared
         (private instances write a machine's name); logIndex counts over all trees
    v2   origin is the log's own address and the name on its line; logIndex is the proof's

Which log it is was decided before, by the exact 32 bytes of the log id. There is no
falling back to other keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from appliance.errors import (
    IncompleteError,
    MalformedError,
    RefusedError,
    SignatureError,
)
from appliance.patterns import pattern
from appliance.rekor.entry_inclusion import verify_entry_inclusion
from appliance.rekor.set import verify_set
from appliance.rekor.transparency_log_entry import InclusionProof, TransparencyLogEntry
from appliance.sigstore.trusted_root import REVOKED, LogKey
from appliance.sigstore.validity import format_time, unix_time
from appliance.sigstore.verdict import SigningTime
from appliance.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    open_checkpoint,
    parse_checkpoint,
)
from appliance.tlog.note import parse_note
from appliance.tlog.note_keys import VerifierKey, log_key, rekor_v1_key
from appliance.value import replaced

_V1_ORIGIN: Final = pattern(".* - [0-9]+")
_SET_KEY_NAME: Final = "rekor"  # a SET names no signer, but a key has to have a name
V2_KINDS: Final = frozenset({("hashedrekord", "0.0.2"), ("dsse", "0.0.2")})
# A batch meets the same few logs again and again.
_v1_key = lru_cache(maxsize=64)(rekor_v1_key)
_v2_key = lru_cache(maxsize=64)(log_key)


def find_log_keys(entry: TransparencyLogEntry, keys: Sequence[LogKey]) -> tuple[LogKey, ...]:
    """Return the instances of the log's key that count, at least one.

    Raises IncompleteError (no-log-key), or RefusedError (revoked-key) for one revoked here.
    """
    named = tuple(key for key in keys if key.log_id == entry.log_id)
    found = tuple(key for key in named if not key.state)
    if any(key.state == REVOKED for key in named):
        raise RefusedError(
            f"the key of {named[0]} was revoked here",
            reason="revoked-key",
            next_step="see 'attestor backend key list' for the reason",
        )
    if named and not found:
        raise IncompleteError(
            f"no key for the log {entry.log_id.hex()}: a trusted root named that of {named[0]}"
            " once and names it no more, and a pin does not bring it back",
            reason="no-log-key",
            next_step="verify with the trusted root of that time: --trusted-root FILE",
        )
    if not keys:
        raise IncompleteError(
            "the key of no log is known here: neither a trusted root nor a pinned log",
            reason="no-log-key",
            next_step="attestor trust import FILE, or --trusted-root FILE",
        )
    if not found:
        raise IncompleteError(
            f"no key for the log {entry.log_id.hex()}; known are those of "
            f"{', '.join(sorted({str(key) for key in keys})[:8])}",
            reason="no-log-key",
            next_step="update the trusted root, or pin the log's key",
        )
    return found


def verify_promise(entry: TransparencyLogEntry, keys: Sequence[LogKey]) -> SigningTime:
    """Verify the signed entry timestamp of a v1 entry and return the time in it.

    Raises SignatureError: reason set-in-v2 if no v1 log made this kind of entry, bad-set,
    or log-key-window if the time is outside every instance of the key.
    """
    if not all(key.may_promise for key in keys):
        raise SignatureError(
            f"a signed entry timestamp by the key of {keys[0]}, a Rekor v2 log: it makes none",
            reason="set-in-v2",
        )
    if (entry.kind, entry.version) in V2_KINDS:
        raise SignatureError(
            f"a signed entry timestamp on {entry.kind} {entry.version}, which no v1 log holds",
            reason="set-in-v2",
        )
    time = unix_time(entry.integrated_time)
    covering = [key for key in keys if key.valid.contains(time)]
    if not covering:
        raise SignatureError(
            f"logged at {format_time(time)}, outside the window of {keys[0]}: {keys[0].valid}",
            reason="log-key-window",
        )
    verifier = _v1_key(_SET_KEY_NAME, covering[0].key.spki)
    return SigningTime(
        unix_time(verify_set(entry, verifier)), "signed-entry-timestamp", str(covering[0])
    )


def verify_log_inclusion(
    entry: TransparencyLogEntry, proof: InclusionProof, keys: Sequence[LogKey]
) -> SignedCheckpoint:
    """Verify checkpoint and proof; return the checkpoint, which a key of the log signed.

    Raises SignatureError or MalformedError for the checkpoint, ProofError for the proof:
    reason checkpoint-mismatch if size or root are not the checkpoint's, index-mismatch if
    a v2 entry has two indices.
    """
    signed = _open_log_checkpoint(proof.checkpoint.encode(), keys)
    log_ids = {key.log_id for key in keys}
    verify_entry_inclusion(entry, signed, log_ids, is_v1=_is_v1(signed.checkpoint))
    return signed


def _open_log_checkpoint(raw: bytes, keys: Sequence[LogKey]) -> SignedCheckpoint:
    note = parse_note(raw)
    checkpoint = parse_checkpoint(note.text)
    if _is_v1(checkpoint):
        verifiers = [
            replaced(_v1_key(line.name, key.key.spki), max_size=key.max_size)
            for key in keys
            for line in note.signatures
            if line.key_id == key.key_id
        ]
        if not verifiers:
            got = " and ".join(
                f"{signature.name!a} {signature.key_id.hex()}" for signature in note.signatures
            )
            raise SignatureError(
                f"checkpoint is not signed by {keys[0]}: expected a line with the key id "
                f"{' or '.join(sorted({key.key_id.hex() for key in keys}))}, got {got[:400]}",
                reason="unknown-signer",
            )
    else:
        verifiers = _v2_keys(checkpoint.origin, keys)
    return open_checkpoint(raw, verifiers, checkpoint.origin)


def _v2_keys(origin: str, keys: Sequence[LogKey]) -> list[VerifierKey]:
    named = [key for key in keys if origin in key.origins]
    if not named:
        known = dict.fromkeys(one for key in keys for one in key.origins)
        raise SignatureError(
            f"checkpoint of another log: expected origin {' or '.join(known)}, "
            f"got {origin[:200]!r}",
            reason="wrong-origin",
        )
    verifiers = [_v2_key(origin, key.key.spki) for key in named]
    for key, verifier in zip(named, verifiers, strict=True):
        if verifier.key_id != key.key_id:
            raise MalformedError(
                f"trusted root: the key of {origin} has id {verifier.key_id.hex()}, "
                f"but is listed under {key.key_id.hex()}",
                reason="log-id",
            )
    return [
        replaced(verifier, max_size=key.max_size)
        for key, verifier in zip(named, verifiers, strict=True)
    ]


def _is_v1(checkpoint: Checkpoint) -> bool:
    return _V1_ORIGIN.fullmatch(checkpoint.origin) is not None
