"""RSA keys with a public exponent of any length, which no library makes by itself."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from math import gcd

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.pki.authorities import spki

RSA_3072 = "PKIX_RSA_PKCS1V15_3072_SHA256"


@cache
def rsa_key(exponent_bits: int, key_bits: int = 3072) -> rsa.RSAPrivateKey:
    """Make a key whose exponent is the largest of so many bits; what it signs verifies."""
    made = rsa.generate_private_key(65537, key_bits).private_numbers()
    order = (made.p - 1) * (made.q - 1)
    exponent = 2**exponent_bits - 1
    while gcd(exponent, order) != 1:
        exponent -= 2
    private = pow(exponent, -1, order)
    return rsa.RSAPrivateNumbers(
        made.p,
        made.q,
        private,
        private % (made.p - 1),
        private % (made.q - 1),
        made.iqmp,
        rsa.RSAPublicNumbers(exponent, made.public_numbers.n),
    ).private_key()


def signed(key: rsa.RSAPrivateKey, artifact: bytes) -> bytes:
    return key.sign(artifact, padding.PKCS1v15(), SHA256())


def posted(key: rsa.RSAPrivateKey, artifact: bytes) -> bytes:
    """Return what a client posts to a log; its signature is good."""
    verifier = {"publicKey": {"rawBytes": b64encode(spki(key)).decode()}, "keyDetails": RSA_3072}
    signature = {"content": b64encode(signed(key, artifact)).decode(), "verifier": verifier}
    request = {"digest": b64encode(sha256(artifact).digest()).decode(), "signature": signature}
    return json.dumps({"hashedRekordRequestV002": request}).encode()
