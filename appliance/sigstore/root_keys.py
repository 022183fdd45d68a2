"""Public keys as a trusted root holds them: DER and the name of what it should be.

A key is decoded only when a signature needs it, so that one exotic key in a root does not
spoil the others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from appliance.errors import MalformedError, RefusedError
from appliance.tlog.note_keys import load_public_key_file, load_spki
from appliance.tlog.rsa_exponent import long_exponent
from appliance.value import frozen

# keyDetails: which key it must be. RSA of any length may stand under the two old names.
_EXPECTED: Final = {
    "PKIX_ECDSA_P256_SHA_256": "secp256r1",
    "PKIX_ECDSA_P384_SHA_384": "secp384r1",
    "PKIX_ECDSA_P521_SHA_512": "secp521r1",
    "PKIX_ED25519": "ed25519",
    "PKIX_RSA_PKCS1V15_2048_SHA256": "rsa-2048",
    "PKIX_RSA_PKCS1V15_3072_SHA256": "rsa-3072",
    "PKIX_RSA_PKCS1V15_4096_SHA256": "rsa-4096",
    "ML_DSA_44": "ml-dsa-44",
    "PKIX_RSA_PKCS1V5": "rsa",
    "PKCS1_RSA_PKCS1V5": "rsa",  # PKCS#1, not SubjectPublicKeyInfo: staging's first CT log
}
# The numbers of these names in the PublicKeyDetails enum.
KEY_DETAILS_NUMBERS: Final = {
    **{1: "PKCS1_RSA_PKCS1V5", 3: "PKIX_RSA_PKCS1V5", 5: "PKIX_ECDSA_P256_SHA_256"},
    **{7: "PKIX_ED25519", 9: "PKIX_RSA_PKCS1V15_2048_SHA256"},
    **{10: "PKIX_RSA_PKCS1V15_3072_SHA256", 11: "PKIX_RSA_PKCS1V15_4096_SHA256"},
    **{12: "PKIX_ECDSA_P384_SHA_384", 13: "PKIX_ECDSA_P521_SHA_512"},
}
PINNED: Final = ""  # keyDetails of a key the operator pinned: any kind, already loaded once


@frozen
class RootKey:
    """One key of a root, not yet decoded."""

    der: bytes
    key_details: str  # PublicKeyDetails name, or PINNED

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo DER, once the key is known to be what it is said to be.

        Raises RefusedError (unsupported-key) for a kind we cannot use, MalformedError
        (root-key) for bytes that are no such key.
        """
        return _checked_spki(self.der, self.key_details)


@lru_cache(maxsize=256)
def _checked_spki(der: bytes, key_details: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if key_details == PINNED:
        return der
    if key_details not in _EXPECTED:
        raise RefusedError(
            f"trusted root: a key is {key_details[:80]!r}, which nothing here can verify",
            reason="unsupported-key",
        )
    # load_der_public_key reads both forms; what leaves here is always SPKI.
    try:
        spki = load_public_key_file(der)
    except MalformedError as error:
        raise MalformedError(f"trusted root: {error.message}", reason="root-key") from error
    key = load_spki(spki)
    got = type(key).__name__
    if isinstance(key, ec.EllipticCurvePublicKey):
        got = key.curve.name
    elif isinstance(key, rsa.RSAPublicKey):
        if slow := long_exponent(key):
            raise RefusedError(f"trusted root: a key is {slow}", reason="unsupported-key")
        got = f"rsa-{key.key_size}"
    elif isinstance(key, ed25519.Ed25519PublicKey):
        got = "ed25519"
    elif got == "MLDSA44PublicKey":
        got = "ml-dsa-44"
    expected = _EXPECTED[key_details]
    if expected not in (got, got.partition("-")[0]):
        raise MalformedError(
            f"trusted root: a key is said to be {key_details} but is {got}", reason="root-key"
        )
    return spki
