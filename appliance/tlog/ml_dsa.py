"""ML-DSA-44 cosignatures of checkpoints (FIPS 204, c2sp.org/tlog-cosignature, type 6).

What is signed is not the note's text but the facts in it: the cosigner's name, a time, the
log's origin, the size and the root. Extension lines are not covered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError, RefusedError
from appliance.tlog.strict_base64 import decode_base64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

KEY_BYTES: Final = 1312
COSIGNATURE_BYTES: Final = 8 + 2420  # timestamp, ML-DSA-44 signature
_MAX_TEXT_BYTES: Final = 255  # of a name or an origin, whose length is one byte
_ROOT_BYTES: Final = 32
_LABEL: Final = b"subtree/v1\n\0"


def load_ml_dsa_44(raw: bytes) -> MLDSA44PublicKey:
    """Load a key from its raw bytes.

    Raises MalformedError unless there are 1312, RefusedError (unsupported-key) where the
    installed `cryptography` has no ML-DSA.
    """
    if len(raw) != KEY_BYTES:
        raise MalformedError(f"ML-DSA-44 key: expected {KEY_BYTES} bytes, got {len(raw)}")
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
    except ImportError as error:
        raise _not_here() from error
    return MLDSA44PublicKey.from_public_bytes(raw)


def ml_dsa_44_private(seed: bytes) -> MLDSA44PrivateKey:
    """Make the private key of a seed of 32 bytes (FIPS 204 6.1); raises as load_ml_dsa_44 does."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
    except ImportError as error:
        raise _not_here() from error
    return MLDSA44PrivateKey.from_seed_bytes(seed)


def ml_dsa_44_seed(private: object) -> bytes | None:
    """Return the seed of a private key; None if it is no ML-DSA-44 key."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
    except ImportError:
        return None  # then nobody loads one, either
    return private.private_bytes_raw() if isinstance(private, MLDSA44PrivateKey) else None


def _not_here() -> RefusedError:
    return RefusedError(
        "ML-DSA-44 needs a newer version of the Python package cryptography",
        reason="unsupported-key",
    )


def signed_subtree(key: bytes, name: str, text: bytes, signature: bytes) -> bool:
    """Whether `name` cosigned the checkpoint `text`; `signature` begins with its timestamp."""
    from cryptography.exceptions import InvalidSignature

    message = subtree_message(name, int.from_bytes(signature[:8]), text)
    if message is None or len(signature) != COSIGNATURE_BYTES:
        return False
    try:
        load_ml_dsa_44(key).verify(signature[8:], message)
    except InvalidSignature:
        return False
    return True


def subtree_message(name: str, timestamp: int, text: bytes) -> bytes | None:
    """Return what is signed of a checkpoint's text; None if it is none that can be."""
    origin, *lines = text.split(b"\n")
    signer = name.encode()
    try:
        size = int(lines[0])
        root = decode_base64(lines[1].decode("ascii"))
    except (IndexError, ValueError, MalformedError):
        return None
    if not all(0 < len(one) <= _MAX_TEXT_BYTES for one in (origin, signer)):
        return None
    if not 0 <= size < 2**63 or lines[0] != b"%d" % size or len(root) != _ROOT_BYTES:
        return None
    parts = (bytes([len(signer)]), signer, timestamp.to_bytes(8), bytes([len(origin)]), origin)
    return b"".join((_LABEL, *parts, (0).to_bytes(8), size.to_bytes(8), root))
