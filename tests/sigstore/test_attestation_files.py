"""Bundles as registries wrap them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.errors import ApplianceError, LimitError, MalformedError
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.sigstore.sigstore_bundle import parse_sigstore_bundle
from tests.shared import shared

CASE = "corpus/sigstore-conformance/test/assets/bundle-verify/happy-path-intoto-in-dsse-v3"


def bundle() -> dict[str, Any]:
    document = json.loads(shared(f"{CASE}/bundle.sigstore.json").read_bytes())
    assert isinstance(document, dict)
    return document


def pep_740(document: dict[str, Any]) -> dict[str, Any]:
    envelope = document["dsseEnvelope"]
    return {
        "version": 1,
        "verification_material": {
            "certificate": document["verificationMaterial"]["certificate"]["rawBytes"],
            "transparency_entries": document["verificationMaterial"]["tlogEntries"],
        },
        "envelope": {
            "statement": envelope["payload"],
            "signature": envelope["signatures"][0]["sig"],
        },
    }


def test_every_wrapping_gives_the_same_bundle() -> None:
    document = bundle()
    plain = parse_sigstore_bundle(json.dumps(document).encode())
    wrapped: dict[str, bytes] = {
        "alone": json.dumps(document, indent=1).encode(),
        "json lines": (json.dumps(document) + "\n").encode() * 2,
        "npm": json.dumps({"attestations": [{"predicateType": "x", "bundle": document}]}).encode(),
        "github": json.dumps([{"bundle": document, "repository_id": 1}]).encode(),
        "pep 740": json.dumps(pep_740(document)).encode(),
        "provenance": json.dumps(
            {
                "version": 1,
                "attestation_bundles": [
                    {"publisher": {"kind": "x"}, "attestations": [pep_740(document)] * 2}
                ],
            }
        ).encode(),
    }
    for name, raw in wrapped.items():
        found = parse_attestation_file(raw)
        assert {one.content for one in found} == {plain.content}, name
        assert {one.certificate for one in found} == {plain.certificate}, name
        assert len(found) == (2 if name in ("json lines", "provenance") else 1), name


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        7,
        "x",
        {"attestations": []},
        {"attestations": {}},
        {"attestations": [{"bundle": None}]},
        {"attestation_bundles": [{"attestations": [{"version": 2, "verification_material": {}}]}]},
        {"version": 1, "verification_material": [], "envelope": {}},
        {"version": 1, "verification_material": {"certificate": 1}, "envelope": {"statement": []}},
    ],
)
def test_what_is_no_attestation_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedError):
        parse_attestation_file(json.dumps(value).encode())


def test_too_many_attestations_are_a_limit() -> None:
    for raw in (b"{}\n" * 33, json.dumps([{"mediaType": "x"}] * 33).encode()):
        with pytest.raises(LimitError):
            parse_attestation_file(raw)


def test_every_cut_is_an_error_of_ours() -> None:
    raw = json.dumps(pep_740(bundle())).encode()
    for length in range(0, len(raw), 97):
        with pytest.raises(ApplianceError):
            parse_attestation_file(raw[:length])
