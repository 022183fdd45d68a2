"""Signatures as the files a build hands to `queue add`, made without our own code."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pem(key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_artifact(
    directory: Path, content: bytes, key: ec.EllipticCurvePrivateKey = KEY
) -> list[str]:
    """Write artifact, signature and key; return the options that name them."""
    directory.mkdir(exist_ok=True)
    name = content.decode().replace(" ", "-")
    files = {
        "--artifact": (directory / f"{name}.bin", content),
        "--signature": (directory / f"{name}.sig", key.sign(content, ec.ECDSA(hashes.SHA256()))),
        "--key": (directory / "key.pem", pem()),
    }
    options = []
    for option, (file, data) in files.items():
        file.write_bytes(data)
        options += [option, str(file)]
    return options


def envelope(
    payload: bytes,
    key: ec.EllipticCurvePrivateKey = KEY,
    digest: hashes.HashAlgorithm | None = None,
) -> dict[str, Any]:
    """Return a DSSE envelope, signed."""
    kind = PAYLOAD_TYPE.encode()
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    signature = key.sign(encoded, ec.ECDSA(digest or hashes.SHA256()))
    return {
        "payload": b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": b64encode(signature).decode(), "keyid": ""}],
    }


def write_envelope(directory: Path, document: Any) -> list[str]:
    """Write an envelope and its key; return the options that name them."""
    directory.mkdir(exist_ok=True)
    file, key = directory / "scan.dsse.json", directory / "key.pem"
    file.write_text(json.dumps(document))
    key.write_bytes(pem())
    return ["--dsse", str(file), "--key", str(key)]
