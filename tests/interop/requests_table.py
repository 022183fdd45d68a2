"""Requests of every spelling and with every defect, each made from one that is good."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable

from tests.interop.signed_artifact import SignedArtifact

Make = Callable[[SignedArtifact], bytes]

MAX_REQUEST_BYTES = 4 * 1024 * 1024


def changed(value: object, *path: str) -> Make:
    """Set the member at `path` below hashedRekordRequestV002; null is the same as absent."""

    def make(artifact: SignedArtifact) -> bytes:
        request = json.loads(artifact.request())
        member = request["hashedRekordRequestV002"]
        for name in path[:-1]:
            member = member[name]
        member[path[-1]] = value
        return json.dumps(request).encode()

    return make


def literal(body: bytes) -> Make:
    """Post these bytes, whatever the artifact."""
    return lambda artifact: body


def snake_case(artifact: SignedArtifact) -> bytes:
    """Spell names as in the .proto file, base64 URL-safe and unpadded, the enum as a number."""
    request = json.loads(artifact.request())["hashedRekordRequestV002"]
    signature = request["signature"]
    key = {"raw_bytes": signature["verifier"]["publicKey"]["rawBytes"].rstrip("=")}
    content = signature["content"].rstrip("=").translate(str.maketrans("+/", "-_"))
    spelled = {
        "digest": request["digest"].rstrip("="),
        "signature": {"content": content, "verifier": {"public_key": key, "key_details": 5}},
    }
    return json.dumps({"hashed_rekord_request_v002": spelled}).encode()


ACCEPTED: dict[str, Make] = {
    "as clients write it": lambda artifact: artifact.request(),
    "snake case": snake_case,
    "null for unset": changed(None, "signature", "verifier", "x509Certificate"),
    "indented": lambda artifact: json.dumps(json.loads(artifact.request()), indent=4).encode(),
    "garbage after the first value": lambda artifact: artifact.request() + b" garbage",
    "another value after the first": lambda artifact: artifact.request() + b"{}",
}

_VERIFIER = ("signature", "verifier")
_KEY_DETAILS = (*_VERIFIER, "keyDetails")

# What is refused with the log's own words; the others with those of Go's parser.
REFUSED: dict[str, Make] = {
    "empty": literal(b""),
    "no members": literal(b"{}"),
    "dsse": literal(b'{"dsseRequestV002":{}}'),
    "no signature": changed(None, "signature"),
    "no signature bytes": changed(None, "signature", "content"),
    "no verifier": changed(None, *_VERIFIER),
    "no key": changed(None, *_VERIFIER, "publicKey"),
    "no key details": changed(None, *_KEY_DETAILS),
    "no digest": changed(None, "digest"),
    "short digest": changed(b64encode(bytes(20)).decode(), "digest"),
    "long digest": changed(b64encode(bytes(48)).decode(), "digest"),
    "another digest": changed(b64encode(bytes(32)).decode(), "digest"),
    "not a key": changed({"rawBytes": "AAAA"}, *_VERIFIER, "publicKey"),
    "unspecified key details": changed("PUBLIC_KEY_DETAILS_UNSPECIFIED", *_KEY_DETAILS),
    "unknown number of key details": changed(999, *_KEY_DETAILS),
    "key details of another curve": changed("PKIX_ECDSA_P384_SHA_384", *_KEY_DETAILS),
    "key details of another kind": changed("PKIX_ED25519", *_KEY_DETAILS),
}

UNPARSABLE: dict[str, Make] = {
    "null": literal(b"null"),
    "array": literal(b"[]"),
    "text": literal(b"hello"),
    "not UTF-8": literal(b'{"\xff":1}'),
    "truncated": lambda artifact: artifact.request()[:-5],
    "unknown member": literal(b'{"x":1}'),
    "unknown inner member": changed(1, *_VERIFIER, "x"),
    "twice the same member": lambda artifact: artifact.request().replace(
        b'"digest"', b'"digest":"","digest"', 1
    ),
    "not base64": changed("!!!", "digest"),
    "a number for bytes": changed(5, "digest"),
    "unknown name of key details": changed("FOO", *_KEY_DETAILS),
    "key and certificate": changed({"rawBytes": "AAAA"}, *_VERIFIER, "x509Certificate"),
    "too large": literal(b'{"x":"' + b"a" * MAX_REQUEST_BYTES + b'"}'),
}
