"""A digest that somebody wants logged without signing it, in the form Rekor v1 has for it.

    {"apiVersion": "0.0.1", "kind": "hashedrekord",
     "spec": {"data": {"hash": {"algorithm": "sha256", "value": "<64 hex digits>"}}}}

It is a hashedrekord 0.0.1 without the signature that every Rekor demands. Only a log that
signs such digests itself can take it.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.errors import ApplianceError, MalformedError
from appliance.rekor.protojson import top_message
from appliance.rekor.request import MAX_REQUEST_BYTES
from appliance.tlog.merkle import Hash, as_hash
from appliance.tlog.strict_json import parse_json

_SHA256: Final = re.compile("[0-9a-fA-F]{64}")


def is_v1_shaped(raw: bytes) -> bool:
    """Whether a request is an entry in the form of Rekor v1, whatever is wrong with it."""
    try:
        value = parse_json(raw, "request", MAX_REQUEST_BYTES)
    except ApplianceError:
        return False
    return isinstance(value, dict) and {"kind", "spec"} <= value.keys()


def parse_bare_digest(raw: bytes) -> Hash:
    """Return the SHA-256 digest that is to be logged.

    Raises MalformedError: reason signed-v1 if there is a signature beside it, malformed for
    another kind, version or algorithm, or a member that is not known; LimitError over 4 MiB.
    """
    entry = top_message(parse_json(raw, "request", MAX_REQUEST_BYTES), "request")
    entry.refuse_unknown({"apiVersion", "kind", "spec"})
    kind, version = entry.required_text("kind"), entry.required_text("apiVersion")
    if (kind, version) != ("hashedrekord", "0.0.1"):
        raise MalformedError(
            f"request: expected a hashedrekord 0.0.1, got {kind[:40]!r} {version[:40]!r}"
        )
    spec = entry.required_message("spec")
    if spec.get("signature") is not None:
        raise MalformedError(
            "request: a hashedrekord 0.0.1 with a signature; this log takes what is signed as"
            " hashedRekordRequestV002",
            reason="signed-v1",
        )
    spec.refuse_unknown({"data", "signature"})
    data = spec.required_message("data")
    data.refuse_unknown({"hash"})
    named = data.required_message("hash")
    named.refuse_unknown({"algorithm", "value"})
    algorithm, value = named.required_text("algorithm"), named.required_text("value")
    if algorithm != "sha256" or not _SHA256.fullmatch(value):
        raise MalformedError(
            f"{named.path}: expected sha256 and 64 hex digits,"
            f" got {algorithm[:20]!r} and {value[:80]!r}"
        )
    return as_hash(bytes.fromhex(value))
