"""What is posted to a Rekor v1 log: a proposed entry (docs/rekor.md).

A hashedrekord 0.0.1 is proposed in the form it is logged in, so rekor/entry.py reads it. A
dsse 0.0.1 carries the envelope as it was spelled: the log hashes that spelling. Nothing is
verified here.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

from appliance.errors import MalformedError
from appliance.rekor.entry import Digest
from appliance.rekor.protojson import Message, top_message
from appliance.rekor.verifier_material import VerifierMaterial, parse_pem_material
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

HASHEDREKORD: Final = "hashedrekord"
DSSE: Final = "dsse"
VERSION: Final = "0.0.1"
_PEM_COLUMNS: Final = 64


@frozen
class DsseProposal:
    """A proposed dsse entry."""

    envelope: Message  # parsed, not verified
    verifier: VerifierMaterial


def hashedrekord_proposal(data: Digest, signature: bytes, verifier: VerifierMaterial) -> bytes:
    """Make the request that logs a signature over a digest."""
    return _proposal(
        HASHEDREKORD,
        {
            "data": {"hash": {"algorithm": data.algorithm, "value": data.value.hex()}},
            "signature": {
                "content": _base64(signature),
                "publicKey": {"content": _base64(format_pem(verifier))},
            },
        },
    )


def dsse_proposal(envelope: str, verifier: VerifierMaterial) -> bytes:
    """Make the request that logs a DSSE envelope, which goes out as it is spelled."""
    content = {"envelope": envelope, "verifiers": [_base64(format_pem(verifier))]}
    return _proposal(DSSE, {"proposedContent": content})


def parse_dsse_proposal(raw: bytes, max_bytes: int) -> DsseProposal:
    """Parse a proposed dsse entry; raises MalformedError or LimitError."""
    entry = top_message(parse_json(raw, "request", max_bytes), "request")
    kind, version = entry.required_text("kind"), entry.required_text("apiVersion")
    if (kind, version) != (DSSE, VERSION):
        raise MalformedError(f"request: expected dsse 0.0.1, got {kind[:40]!r} {version[:40]!r}")
    content = entry.required_message("spec").required_message("proposedContent")
    verifiers = content.binaries("verifiers", 1)
    if not verifiers:
        raise MalformedError(f"{content.path}.verifiers: missing")
    text = content.required_text("envelope")
    envelope = top_message(parse_json(text.encode(), "DSSE envelope", max_bytes), "envelope")
    return DsseProposal(envelope, parse_pem_material(verifiers[0], f"{content.path}.verifiers[0]"))


def format_pem(verifier: VerifierMaterial) -> bytes:
    """Write a key or certificate as PEM, in the one spelling a v1 log keeps."""
    label = "CERTIFICATE" if verifier.is_certificate else "PUBLIC KEY"
    text = _base64(verifier.der)
    lines = [text[at : at + _PEM_COLUMNS] for at in range(0, len(text), _PEM_COLUMNS)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _proposal(kind: str, spec: dict[str, Any]) -> bytes:
    entry = {"apiVersion": VERSION, "kind": kind, "spec": spec}
    return json.dumps(entry, separators=(",", ":")).encode("ascii")


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
