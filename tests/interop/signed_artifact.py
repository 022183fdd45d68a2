"""Artifacts signed with a P-256 key, as a Rekor v2 request and as a Sigstore bundle.

Made with cryptography and json alone, without our own code, which is what is tested.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@dataclass(frozen=True, slots=True)
class SignedArtifact:
    """Some bytes and one signature over them."""

    content: bytes
    signature: bytes  # ECDSA, DER
    spki: bytes  # the signer's public key, DER

    def request(self) -> bytes:
        """Return the JSON that asks a Rekor v2 log to add it."""
        verifier = {
            "publicKey": {"rawBytes": _base64(self.spki)},
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        }
        request = {
            "digest": _base64(sha256(self.content).digest()),
            "signature": {"content": _base64(self.signature), "verifier": verifier},
        }
        return json.dumps({"hashedRekordRequestV002": request}).encode()

    def sigstore_bundle(self, logged: dict[str, Any]) -> bytes:
        """Return the Sigstore bundle that carries what the log answered."""
        entry = {key: value for key, value in logged.items() if value not in (None, "0")}
        entry["logIndex"] = logged["logIndex"]
        digest = {"algorithm": "SHA2_256", "digest": _base64(sha256(self.content).digest())}
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "publicKey": {"hint": _base64(sha256(self.spki).digest())},
                "tlogEntries": [entry],
            },
            "messageSignature": {"messageDigest": digest, "signature": _base64(self.signature)},
        }
        return json.dumps(bundle).encode()


def sign_artifact(key: ec.EllipticCurvePrivateKey, content: bytes) -> SignedArtifact:
    """Sign `content` with a P-256 key."""
    signature = key.sign(content, ec.ECDSA(SHA256()))
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SignedArtifact(content, signature, spki)


def trusted_root(origin: str, spki: bytes, log_id: bytes) -> bytes:
    """Return a Sigstore trusted root that knows one log with an Ed25519 key, and nothing else."""
    log = {
        "baseUrl": f"https://{origin}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _base64(spki),
            "keyDetails": "PKIX_ED25519",
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        },
        "logId": {"keyId": _base64(log_id)},
    }
    root = {
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [log],
        "certificateAuthorities": [],
        "ctlogs": [],
        "timestampAuthorities": [],
    }
    return json.dumps(root).encode()


def note_log_id(origin: str, spki: bytes) -> bytes:
    """Return the 32-byte id of an Ed25519 log key: SHA-256 of name, LF, type and raw key."""
    return sha256(origin.encode() + b"\n\x01" + spki[-32:]).digest()


def body_of(logged: dict[str, Any]) -> bytes:
    """Return the leaf a log says it added."""
    return b64decode(logged["canonicalizedBody"], validate=True)


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
