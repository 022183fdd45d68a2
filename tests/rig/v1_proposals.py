"""What a client posts to a Rekor v1 log, made with cryptography and json alone."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def hashedrekord(key: ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    signature = key.sign(content, ec.ECDSA(hashes.SHA256()))
    spec = {
        "data": {"hash": {"algorithm": "sha256", "value": sha256(content).hexdigest()}},
        "signature": {
            "content": b64encode(signature).decode(),
            "publicKey": {"content": b64encode(pem_of(key)).decode()},
        },
    }
    return json.dumps({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}).encode()


def dsse(key: ec.EllipticCurvePrivateKey, payload: bytes) -> bytes:
    kind = b"application/vnd.in-toto+json"
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    envelope = {
        "payload": b64encode(payload).decode(),
        "payloadType": kind.decode(),
        "signatures": [{"sig": b64encode(signature).decode(), "keyid": ""}],
    }
    proposed = {"envelope": json.dumps(envelope), "verifiers": [b64encode(pem_of(key)).decode()]}
    proposal = {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": proposed}}
    return json.dumps(proposal).encode()
