"""Requests as clients post them, each over another artifact."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@cache
def signer() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def signer_spki() -> bytes:
    return _spki(signer())


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signed_request(artifact: bytes) -> bytes:
    """Sign `artifact` and return the JSON that asks a log to add it."""
    key = signer()  # once: threads that ask first may each be given another
    signature = key.sign(artifact, ec.ECDSA(SHA256()))
    verifier = {
        "publicKey": {"rawBytes": b64encode(_spki(key)).decode()},
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    }
    request = {
        "digest": b64encode(sha256(artifact).digest()).decode(),
        "signature": {"content": b64encode(signature).decode(), "verifier": verifier},
    }
    return json.dumps({"hashedRekordRequestV002": request}).encode()
