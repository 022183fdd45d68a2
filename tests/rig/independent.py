"""Is an entry in a log: json, hashlib and cryptography only, written from RFC 9162."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key


def leaf_of(request: bytes) -> bytes:
    """Return the body that a Rekor v2 hashedrekord request becomes."""
    asked = json.loads(request)["hashedRekordRequestV002"]
    details = asked["signature"]["verifier"]["keyDetails"]
    algorithm = {"PKIX_ECDSA_P256_SHA_256": "SHA2_256"}[details]
    data = {"algorithm": algorithm, "digest": asked["digest"]}
    spec = {"hashedRekordV002": {"data": data, "signature": asked["signature"]}}
    entry = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec}
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


def verify_entry(entry: dict[str, Any], request: bytes, origin: str, spki: bytes) -> None:
    """Assert that a TransparencyLogEntry proves the request logged, under the log's key."""
    body = b64decode(entry["canonicalizedBody"], validate=True)
    assert body == leaf_of(request), "the entry is of another request"
    proof = entry["inclusionProof"]
    text, _, signatures = proof["checkpoint"]["envelope"].partition("\n\n")
    said_origin, size, root = text.split("\n")[:3]
    assert said_origin == origin
    assert _signed((text + "\n").encode(), signatures, origin, spki), "the checkpoint is not signed"
    assert size == proof["treeSize"] and root == proof["rootHash"]
    assert entry["logIndex"] == proof["logIndex"]
    path = [b64decode(one, validate=True) for one in proof["hashes"]]
    leaf = sha256(b"\x00" + body).digest()
    computed = _root(int(proof["logIndex"]), int(size), leaf, path)
    assert computed == b64decode(root, validate=True), "the proof leads to another root"


def _signed(text: bytes, lines: str, name: str, spki: bytes) -> bool:
    key = load_der_public_key(spki)
    for line in lines.split("\n"):
        _, said_name, encoded = [*line.split(" "), "", ""][:3]
        if said_name != name:
            continue
        signature = b64decode(encoded, validate=True)[4:]
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, text)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
        else:
            raise AssertionError("a key of another kind")
        return True
    return False


def _root(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.3.2."""
    assert 0 <= index < size
    fn, sn, result = index, size - 1, leaf
    for one in path:
        assert sn > 0, "the proof is too long"
        if fn % 2 == 1 or fn == sn:
            result = sha256(b"\x01" + one + result).digest()
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = sha256(b"\x01" + result + one).digest()
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0, "the proof is too short"
    return result
