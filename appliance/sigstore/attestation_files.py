"""Files that hold Sigstore bundles under another wrapping, as registries hand them out.

A bundle alone, JSON Lines of bundles (GitHub's download), {"attestations": [{"bundle": …}]}
(npm and GitHub's API), and the Python registry's PEP 740 attestations, alone or as a
provenance file. Unwrapping believes nothing; what comes out is verified like any bundle.
"""

from __future__ import annotations

from typing import Any, Final

from appliance.errors import LimitError, MalformedError
from appliance.rekor.protojson import top_message
from appliance.sigstore.sigstore_bundle import SigstoreBundle, read_sigstore_bundle
from appliance.tlog.strict_json import parse_json

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_BUNDLES: Final = 32
_BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT_TYPE: Final = "application/vnd.in-toto+json"


def parse_attestation_file(raw: bytes) -> tuple[SigstoreBundle, ...]:
    """Return the Sigstore bundles in a file, in order; never none.

    Raises MalformedError if it is none of the known forms or a bundle in it is malformed,
    LimitError above 32 bundles or 16 MiB.
    """
    documents = [one for value in _values(raw) for one in _unwrap(value)]
    if not documents:
        raise MalformedError("the attestation file holds no attestation", reason="no-attestation")
    if len(documents) > MAX_BUNDLES:
        raise LimitError(f"expected at most {MAX_BUNDLES} attestations, got {len(documents)}")
    return tuple(read_sigstore_bundle(top_message(one, "bundle")) for one in documents)


def _values(raw: bytes) -> list[Any]:
    """Parse the file as one JSON value, or as one a line."""
    lines = [line for line in raw.split(b"\n") if line.strip()]
    if len(lines) > 1 and lines[0].rstrip().endswith(b"}"):
        if len(lines) > MAX_BUNDLES:
            raise LimitError(f"expected at most {MAX_BUNDLES} attestations, got {len(lines)}")
        return [parse_json(line, "attestation line", MAX_FILE_BYTES) for line in lines]
    return [parse_json(raw, "Sigstore bundle", MAX_FILE_BYTES)]


def _unwrap(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [one for item in value for one in _unwrap(item)]
    if not isinstance(value, dict) or "mediaType" in value:
        return [value]  # a bundle, or something the bundle's parser will name
    if "attestation_bundles" in value:
        return [one for item in _list(value, "attestation_bundles") for one in _unwrap(item)]
    if "attestations" in value:
        return [one for item in _list(value, "attestations") for one in _unwrap(item)]
    if "bundle" in value:
        return [value["bundle"]]
    if "verification_material" in value:
        return [_from_pep_740(value)]
    return [value]


def _list(value: dict[str, Any], name: str) -> list[Any]:
    items = value[name]
    if not isinstance(items, list):
        raise MalformedError(f"attestation file: {name} is not a list")
    return items


def _from_pep_740(attestation: dict[str, Any]) -> dict[str, Any]:
    """Spell a PEP 740 attestation as the Sigstore bundle it was made from."""
    if attestation.get("version") != 1:
        raise MalformedError(
            f"attestation: expected version 1, got {attestation.get('version')!r:.80}",
            reason="attestation-version",
        )
    material = attestation["verification_material"]
    envelope = attestation.get("envelope")
    if not isinstance(material, dict) or not isinstance(envelope, dict):
        raise MalformedError("attestation: verification_material or envelope is no object")
    return {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {
            "certificate": {"rawBytes": material.get("certificate")},
            "tlogEntries": material.get("transparency_entries"),
        },
        "dsseEnvelope": {
            "payload": envelope.get("statement"),
            "payloadType": _STATEMENT_TYPE,
            "signatures": [{"sig": envelope.get("signature")}],
        },
    }
