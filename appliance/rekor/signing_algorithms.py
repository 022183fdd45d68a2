"""Which keys sign for Rekor v2, and how: PublicKeyDetails by name.

Every signature here is over a digest the caller already has; of an Ed25519 key that is the
prehashed variant of RFC 8032, which ed25519 verifies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError, RefusedError, SignatureError
from appliance.rekor.ed25519 import check_signature_length, verify_prehashed
from appliance.tlog.rsa_exponent import long_exponent
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


@frozen
class SigningAlgorithm:
    """One row of the table."""

    key_details: str  # name in the PublicKeyDetails enum
    number: int  # its value there
    key: str  # as _describe_key calls it
    digest: str  # sha256, sha384 or sha512


_TABLE: Final = (
    SigningAlgorithm("PKIX_ECDSA_P256_SHA_256", 5, "secp256r1", "sha256"),
    SigningAlgorithm("PKIX_ED25519_PH", 8, "ed25519", "sha512"),
    SigningAlgorithm("PKIX_RSA_PKCS1V15_2048_SHA256", 9, "rsa-2048", "sha256"),
    SigningAlgorithm("PKIX_RSA_PKCS1V15_3072_SHA256", 10, "rsa-3072", "sha256"),
    SigningAlgorithm("PKIX_RSA_PKCS1V15_4096_SHA256", 11, "rsa-4096", "sha256"),
    SigningAlgorithm("PKIX_ECDSA_P384_SHA_384", 12, "secp384r1", "sha384"),
    SigningAlgorithm("PKIX_ECDSA_P521_SHA_512", 13, "secp521r1", "sha512"),
)
BY_KEY_DETAILS: Final = {row.key_details: row for row in _TABLE}
BY_NUMBER: Final = {row.number: row for row in _TABLE}
_BY_KEY: Final = {row.key: row for row in _TABLE}

DIGEST_BYTES: Final = {"sha256": 32, "sha384": 48, "sha512": 64}
PROTOBUF_DIGESTS: Final = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}
PROTOBUF_NUMBERS: Final = {1: "SHA2_256", 2: "SHA2_384", 3: "SHA2_512"}  # of HashAlgorithm
PROTOBUF_NAMES: Final = {digest: name for name, digest in PROTOBUF_DIGESTS.items()}


def natural_algorithm(key: PublicKeyTypes) -> SigningAlgorithm:
    """Return the one algorithm a Rekor v2 log takes from `key`.

    Raises RefusedError (reason unsupported-key) if it takes none.
    """
    name = _describe_key(key)
    if name not in _BY_KEY:
        raise RefusedError(
            f"signer key is {name}; supported are {', '.join(_BY_KEY)}", reason="unsupported-key"
        )
    return _BY_KEY[name]


def verify_digest_signature(
    key: PublicKeyTypes, digest_algorithm: str, digest: bytes, signature: bytes
) -> None:
    """Verify `signature` over a digest: ECDSA in DER, RSA PKCS#1 v1.5, Ed25519ph over SHA-512.

    Raises SignatureError (reason bad-signature), or RefusedError (unsupported-key) if nobody
    here can tell.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

    hash_classes: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
        "sha256": hashes.SHA256,
        "sha384": hashes.SHA384,
        "sha512": hashes.SHA512,
    }
    prehashed = utils.Prehashed(hash_classes[digest_algorithm]())
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(prehashed))
        elif isinstance(key, rsa.RSAPublicKey) and not long_exponent(key):
            key.verify(signature, digest, padding.PKCS1v15(), prehashed)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            check_signature_length(signature)
            is_prehash = digest_algorithm == "sha512"
            if not (is_prehash and verify_prehashed(key.public_bytes_raw(), signature, digest)):
                raise InvalidSignature
        else:
            raise RefusedError(
                f"signer key is {_describe_key(key)}, which nothing here can verify",
                reason="unsupported-key",
            )
    except InvalidSignature as error:
        raise SignatureError(
            f"signature does not verify over {digest_algorithm}:{digest.hex()}",
            reason="bad-signature",
        ) from error


def digest_text(digest: bytes) -> str:
    """Write a digest with its algorithm, which its length tells."""
    [name] = [name for name, n_bytes in DIGEST_BYTES.items() if n_bytes == len(digest)]
    return f"{name}:{digest.hex()}"


def check_digest_length(digest_algorithm: str, digest: bytes) -> None:
    """Raise MalformedError unless `digest` is as long as its algorithm makes it."""
    expected = DIGEST_BYTES[digest_algorithm]
    if len(digest) != expected:
        raise MalformedError(
            f"{digest_algorithm} digest: expected {expected} bytes, got {len(digest)}"
        )


def _describe_key(key: PublicKeyTypes) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name
    if isinstance(key, rsa.RSAPublicKey):
        return long_exponent(key) or f"rsa-{key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    return type(key).__name__
