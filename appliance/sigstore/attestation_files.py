"""Files that hold Sigstore bundles under another wrapping, as registries hand them out.

A bundle alone, JSON Lines of bundles (GitHub's download), {"attestations": [{"bundle": …}]}
(npm and GitHub's API), what `gh attestation verify` and `npm audit signatures` print as JSON,
and the Python registry's PEP 740 attestations, alone or as a provenance file. Unwrapping
believes nothing; what comes out is verified like any bundle.
One attestation that cannot be read does not spoil those beside it.
"""

from __future__ import annotations

from typing import Any, Final

from appliance.errors import ApplianceError, LimitError, MalformedError, RefusedError
from appliance.rekor.protojson import Message, top_message
from appliance.sigstore.sigstore_bundle import SigstoreBundle, read_sigstore_bundle
from appliance.tlog.foreign_files import BUNDLE, foreign_file
from appliance.tlog.strict_json import json_lines, parse_json, some_json_lines
from appliance.value import frozen

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_BUNDLES: Final = 4096
_MAX_LINES: Final = 1_000_000  # 4096 bundles, each in 200 lines
# What clients, registries and their users put behind an artifact's name; the first that is there.
BUNDLE_SUFFIXES: Final = (
    *(".sigstore.json", ".sigstore", ".sigstore.jsonl", ".sigstore.bundle"),
    *(".bundle", ".bundle.json", ".cosign.bundle", ".cosign-bundle"),
    *(".publish.attestation", ".slsa.attestation", ".provenance", ".provenance.json"),
    *(".attestation", ".attestation.json", ".attestation.jsonl", ".attestations.json"),
    *(".attestations.jsonl", ".intoto.sigstore", ".intoto.jsonl", ".build.slsa", ".jsonl"),
    ".tlog-proof",
)
_BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT_TYPE: Final = "application/vnd.in-toto+json"
# What holds several: PEP 740's provenance, npm's and GitHub's interface, `npm audit signatures`.
_LISTS: Final = ("attestation_bundles", "attestations", "attestationBundles", "verified")


@frozen
class AttestationFile:
    """What came in one file: at least one bundle, and why others could not be read."""

    bundles: tuple[SigstoreBundle, ...]
    unread: tuple[ApplianceError, ...]  # MalformedError or RefusedError, in order


def parse_attestation_file(raw: bytes) -> tuple[SigstoreBundle, ...]:
    """Return the Sigstore bundles in a file, in order; raises as read_attestation_file does."""
    return read_attestation_file(raw).bundles


def read_attestation_file(raw: bytes) -> AttestationFile:
    """Read the attestations in a file; those that cannot be read are told beside them.

    Raises MalformedError or RefusedError, as parse_sigstore_bundle does, if it is none of
    the known forms or no attestation in it can be read; LimitError above 4096 attestations
    or 64 MiB.
    """
    if len(raw) > MAX_FILE_BYTES:
        raise LimitError(f"attestations: expected at most {MAX_FILE_BYTES} bytes, got {len(raw)}")
    if not raw or raw.isspace():
        raise MalformedError(
            "the file is empty, expected a Sigstore bundle",
            next_step="get it again from where it came",
        )
    bundles: list[SigstoreBundle] = []
    unread: list[ApplianceError] = []
    count = 0
    parts = _parts(raw)
    if len(parts) > MAX_BUNDLES:  # also of lines that cannot be read: each is told
        raise LimitError(f"expected at most {MAX_BUNDLES} attestations, got {len(parts)} lines")
    for number, part in enumerate(parts, 1):
        what = "Sigstore bundle" if part is raw else f"line {number}"
        try:
            documents = _unwrap(parse_json(part, what, MAX_FILE_BYTES))
        except (MalformedError, RefusedError) as error:
            other = foreign_file(part, BUNDLE) if part is raw else None
            unread.append(other or error)
            continue
        count += len(documents)
        if count > MAX_BUNDLES:
            raise LimitError(f"expected at most {MAX_BUNDLES} attestations, got {count} or more")
        for document in documents:
            try:
                bundles.append(read_sigstore_bundle(_spelled(document)))
            except (MalformedError, RefusedError) as error:
                unread.append(error)
    if not bundles and unread:
        raise unread[0]
    if not bundles:
        raise MalformedError("the attestation file holds no attestation", reason="no-attestation")
    return AttestationFile(tuple(bundles), tuple(unread))


def _parts(raw: bytes) -> list[bytes]:
    """Split a file into its JSON documents; lines between them that are none come along."""
    if raw.count(b"\n") > _MAX_LINES:  # no list of them is worth its memory
        return [raw]
    if parts := json_lines(raw):
        return parts
    if parts := some_json_lines(raw):
        try:
            parse_json(raw, max_bytes=MAX_FILE_BYTES)
        except MalformedError:
            return parts
        except ApplianceError:
            pass
    return [raw]


def _spelled(value: Any) -> Message:
    """Take a value for a bundle, spelled as one if the Python registry wrote it."""
    if isinstance(value, dict) and "verification_material" in value and not _is_bundle(value):
        value = _from_pep_740(value)
    return top_message(value, "bundle", lenient=True)


def _is_bundle(value: dict[str, Any]) -> bool:
    return "mediaType" in value or "media_type" in value


def _unwrap(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [one for item in value for one in _unwrap(item)]
    if not isinstance(value, dict) or _is_bundle(value):
        return [value]  # a bundle, or something the bundle's parser will name
    for name in _LISTS:
        if name in value and isinstance(value[name], list):
            return [one for item in value[name] for one in _unwrap(item)]
    if isinstance(value.get("attestation"), dict):
        return _unwrap(value["attestation"])
    if value.get("bundle") is None and isinstance(value.get("bundle_url"), str):
        return [value]  # to be told what it is
    return [value.get("bundle", value)]


def _from_pep_740(attestation: dict[str, Any]) -> dict[str, Any]:
    """Spell a PEP 740 attestation as the Sigstore bundle it was made from."""
    version = attestation.get("version")
    if type(version) is not int:
        raise MalformedError(
            f"attestation: expected version 1, got {version!r:.80}", reason="attestation-version"
        )
    if version != 1:
        raise RefusedError(
            f"attestation: expected version 1, got {version!r:.80}",
            reason="attestation-version",
            next_step="update the appliance",
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
