"""The key that signs what is published: ECDSA on P-256, which every Rekor takes.

A v2 log takes Ed25519 only in its pre-hashed form, which `cryptography` cannot make,
so a publisher's key is no note-signing key like the others of a home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError
from appliance.tlog.note_keys import VerifierKey, log_key
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SECRET_BYTES: Final = 48  # 16 more than the order, so that no scalar is likelier than another
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@frozen
class PublisherKey:
    """A P-256 key that signs digests. Never printed: its repr shows only the name."""

    name: str
    pem: bytes  # PKCS#8, secret

    def __repr__(self) -> str:
        return f"PublisherKey({self.name!r})"

    @property
    def spki(self) -> bytes:
        """The public half, SubjectPublicKeyInfo DER."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = _load(self.pem).public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def verifier(self) -> VerifierKey:
        """The public half, as a verifier key."""
        return log_key(self.name, self.spki)

    def sign_digest(self, digest: bytes, *, deterministic: bool = False) -> bytes:
        """Sign a SHA-256 digest; returns ECDSA in DER, if asked the same each time (RFC 6979)."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=deterministic)
        return _load(self.pem).sign(digest, algorithm)


def make_publisher_key(name: str, secret: bytes) -> PublisherKey:
    """Make a key from 48 random bytes."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, this has {len(secret)}")
    scalar = 1 + int.from_bytes(secret) % (_ORDER - 1)
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    return PublisherKey(
        name, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def parse_publisher_key(name: str, pem: bytes) -> PublisherKey:
    """Parse a PEM file; raises MalformedError, never quoting it."""
    _load(pem)
    return PublisherKey(name, pem)


def _load(pem: bytes) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError("not an unencrypted private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise MalformedError("not a P-256 private key")
    return key
