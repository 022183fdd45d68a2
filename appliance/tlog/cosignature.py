"""Cosignatures: a witness vouches, with a time, for a checkpoint (c2sp.org/tlog-cosignature).

A cosignature is a signature line like the log's own, by a key of type 4: eight bytes of
POSIX seconds, then Ed25519 over two lines and the checkpoint's text.
By an ML-DSA-44 key (type 6) it is over the cosigner's name, the time, and the checkpoint's
origin, size and root; of extension lines it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import MalformedError, RefusedError
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.ml_dsa import subtree_message
from appliance.tlog.note import NoteSignature, SigningKey, parse_note, verified_signatures
from appliance.tlog.note_keys import (
    COSIGNATURE_TYPES,
    MAX_TIMESTAMP,
    KeyType,
    VerifierKey,
    cosigned_message,
    ed25519_key,
    is_among,
    parse_vkey,
)
from appliance.value import frozen


@frozen
class Cosignature:
    """A verified statement: this was the largest consistent tree the witness had seen."""

    key: VerifierKey  # the witness
    timestamp: int  # POSIX seconds by the witness's clock, 0..2^63-1


def parse_witness_vkey(text: str) -> VerifierKey:
    """Parse the verifier key of a witness.

    Raises MalformedError as parse_vkey does, and for a key that signs notes rather than
    cosignatures: the two have different ids, and nothing here turns one into the other.
    """
    key = parse_vkey(text)
    if key.key_type is KeyType.ED25519:
        raise MalformedError(
            f"witness key {key.name!r}: expected type 4 (cosignature), got type 1 (log)",
            reason="not-a-witness-key",
            next_step="ask the witness; if it cosigns with this key, its line is "
            + ed25519_key(key.name, key.key, KeyType.COSIGNATURE).vkey,
        )
    if key.key_type not in COSIGNATURE_TYPES:
        raise MalformedError(
            f"witness key {key.name!r}: expected type 4 (cosignature), got type 2 (ECDSA)",
            reason="not-a-witness-key",
        )
    return key


def open_cosignatures(
    checkpoint: SignedCheckpoint, witnesses: Sequence[VerifierKey]
) -> tuple[Cosignature, ...]:
    """Return the cosignatures of `witnesses` on a checkpoint, in order, one a witness.

    A log is not its own witness: a cosignature by a key that signed the checkpoint is left
    out. None at all is no error: a quorum is for tlog_policy to judge. Raises SignatureError
    (reason bad-signature) if the line of a known witness does not verify, ValueError if
    one of `witnesses` is not a cosignature key.
    """
    for key in witnesses:
        if key.key_type not in COSIGNATURE_TYPES:
            raise ValueError(f"{key.vkey} is not the key of a witness")
    return tuple(
        Cosignature(key, int.from_bytes(line.signature[:8]))
        for key, line in verified_signatures(parse_note(checkpoint.note), witnesses)
        if not is_among(key, checkpoint.signers)
    )


def cosigner_key(signer: SigningKey) -> VerifierKey:
    """Return the key under which `signer`'s cosignatures verify; its id is not the log key's."""
    verifier = signer.verifier
    if verifier.key_type is KeyType.ML_DSA_44:
        return verifier
    return ed25519_key(signer.name, verifier.key, KeyType.COSIGNATURE)


def cosign(checkpoint: SignedCheckpoint, signer: SigningKey, timestamp: int) -> NoteSignature:
    """Sign a checkpoint as a witness at `timestamp`, which is POSIX seconds.

    The caller has made sure, durably, that it never cosigned anything inconsistent.
    Raises ValueError for a timestamp that no cosignature can carry, RefusedError (too-long)
    for a checkpoint that an ML-DSA-44 key cannot cosign: its origin is too long.
    """
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise ValueError(f"no cosignature has the timestamp {timestamp}")
    text = str(checkpoint.checkpoint).encode()
    if signer.key_type is KeyType.ML_DSA_44:
        message = subtree_message(signer.name, timestamp, text)
        if message is None:
            raise RefusedError(
                f"an ML-DSA-44 cosignature has room for names of 255 bytes: {signer.name[:80]!r}"
                f" over {checkpoint.origin[:80]!r}",
                reason="too-long",
                next_step="cosign it with a key of the type witness",
            )
    else:
        message = cosigned_message(text, timestamp)
    signature = timestamp.to_bytes(8) + signer.sign_bytes(message)
    return NoteSignature(signer.name, cosigner_key(signer).key_id, signature)
