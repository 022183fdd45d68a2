"""Making Sigstore bundles: first without the log entry, then with it (version 0.3).

Between signing and logging may lie a queue and an air gap. What was signed, by whom, and
the stamps taken at signing wait in a bundle that only lacks its log entry.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from appliance.rekor.signing_algorithms import PROTOBUF_NAMES
from appliance.rekor.transparency_log_entry import TransparencyLogEntry, format_log_entry
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.sigstore.dsse import DsseEnvelope
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.tlog.strict_json import parse_json

_BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


def unfinished_bundle(
    content: MessageSignature | DsseEnvelope,
    verifier: VerifierMaterial,
    stamps: Sequence[bytes] = (),
    key_hint: str = "",
) -> bytes:
    """Make a bundle that lacks nothing but its log entry.

    `stamps` are RFC 3161 responses; a managed key is hinted at by its digest unless a
    `key_hint` is given.
    """
    material: dict[str, Any] = {"tlogEntries": []}
    if verifier.is_certificate:
        material["certificate"] = {"rawBytes": _base64(verifier.der)}
    else:
        material["publicKey"] = {"hint": key_hint or _base64(sha256(verifier.der).digest())}
    if stamps:
        signed = [{"signedTimestamp": _base64(stamp)} for stamp in stamps]
        material["timestampVerificationData"] = {"rfc3161Timestamps": signed}
    bundle = {"mediaType": _BUNDLE_TYPE, "verificationMaterial": material, **_content(content)}
    return json.dumps(bundle, separators=(",", ":")).encode("ascii")


def finish_bundle(unfinished: bytes, entry: TransparencyLogEntry) -> bytes:
    """Put the log entry into a bundle that unfinished_bundle made."""
    bundle = parse_json(unfinished, "Sigstore bundle", len(unfinished))
    bundle["verificationMaterial"]["tlogEntries"] = [format_log_entry(entry)]
    return json.dumps(bundle, separators=(",", ":")).encode("ascii")


def _content(content: MessageSignature | DsseEnvelope) -> dict[str, Any]:
    if isinstance(content, DsseEnvelope):
        signature = {"sig": _base64(content.signature), "keyid": content.key_id}
        envelope = {
            "payload": _base64(content.payload),
            "payloadType": content.payload_type,
            "signatures": [signature],
        }
        return {"dsseEnvelope": envelope}
    message: dict[str, Any] = {"signature": _base64(content.signature)}
    if content.digest is not None:
        message["messageDigest"] = {
            "algorithm": PROTOBUF_NAMES[content.digest.algorithm],
            "digest": _base64(content.digest.value),
        }
    return {"messageSignature": message}


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
