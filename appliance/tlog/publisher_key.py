"""The key that signs what is published: ECDSA on P-256, which every Rekor takes.

A v2 log takes Ed25519 only in its pre-hashed form, which `cryptography` cannot make,
so a publisher's key is no note-signing key like the others of a home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError
from appliance.tlog.note_keys import VerifierKey, log_key
from appliance.tlog.private_pem import load_private_pem
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SECRET_BYTES: Final = 48  # 16 more than the order, so that no scalar is likelier than another
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@frozen
class PublisherKey:
    """A P-256 key that signs digests. Never printed: its repr shows only the name."""

    name: str
    pem: bytes  # PKCS#8, not encrypted: secret

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

    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, this has {len(secret)}")
    scalar = 1 + int.from_bytes(secret) % (_ORDER - 1)
    return PublisherKey(name, _pem(ec.derive_private_key(scalar, ec.SECP256R1())))


def parse_publisher_key(name: str, pem: bytes, passphrase: bytes | None = None) -> PublisherKey:
    """Parse a PEM file; raises as load_private_pem does, never quoting it."""
    key = _load(pem, passphrase)
    return PublisherKey(name, pem if passphrase is None else _pem(key))


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(pem: bytes, passphrase: bytes | None = None) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    wanted = "a private key in PEM" if passphrase else "an unencrypted private key in PEM"
    key = load_private_pem(pem, passphrase, expected=wanted)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise MalformedError("not a P-256 private key")
    return key
