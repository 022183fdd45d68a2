"""Bundles as registries wrap them."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from appliance.errors import ApplianceError, LimitError, MalformedError, RefusedError
from appliance.sigstore.attestation_files import parse_attestation_file, read_attestation_file
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
        {"version": True, "verification_material": {}, "envelope": {}},
        {"version": 1, "verification_material": [], "envelope": {}},
        {"version": 1, "verification_material": {"certificate": 1}, "envelope": {"statement": []}},
    ],
)
def test_what_is_no_attestation_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedError):
        parse_attestation_file(json.dumps(value).encode())


def test_too_many_attestations_are_a_limit() -> None:
    for raw in (b"{}\n" * 4097, json.dumps([{"mediaType": "x"}] * 4097).encode()):
        with pytest.raises(LimitError):
            parse_attestation_file(raw)
    with pytest.raises(LimitError):
        parse_attestation_file(b" " * (64 * 1024 * 1024 + 1))


@pytest.mark.parametrize("line", [b"{]}\n", b"x\n", b"{}\n"])
@pytest.mark.parametrize("count", [4096, 2_000_000])
def test_lines_that_cannot_be_read_are_bounded_in_number_and_memory(
    line: bytes, count: int
) -> None:
    """Each would be told, and each object of Python's is a hundred times a line."""
    good = json.dumps(bundle()).encode() + b"\n"
    tracemalloc.start()
    try:
        with pytest.raises((LimitError, MalformedError)):
            read_attestation_file(good + line * count)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_hundred_attestations_are_normal() -> None:
    line = json.dumps(bundle()).encode() + b"\r\n"
    assert len(parse_attestation_file(line * 100)) == 100


def test_one_unreadable_attestation_does_not_spoil_those_beside_it() -> None:
    good = bundle()
    newer = {**good, "mediaType": "application/vnd.dev.sigstore.bundle.v0.4+json"}
    stranger = {"mediaType": "x"}
    lines = b"\n".join(json.dumps(one).encode() for one in (newer, good, stranger))
    for raw in (lines, json.dumps([newer, good, stranger]).encode()):
        found = read_attestation_file(raw)
        assert len(found.bundles) == 1
        assert [type(one) for one in found.unread] == [RefusedError, MalformedError]
    found = read_attestation_file(json.dumps(good).encode() + b"\n{not json}\n")
    assert len(found.bundles) == len(found.unread) == 1
    with pytest.raises(RefusedError, match="newer") as caught:
        parse_attestation_file(json.dumps([newer, newer]).encode())
    assert caught.value.reason == "media-type"


def test_what_is_well_formed_and_not_supported_is_refused_and_named() -> None:
    old = {"base64Signature": "eA==", "cert": "x", "rekorBundle": {"Payload": {}}}
    with pytest.raises(RefusedError, match="cosign 1 and 2") as caught:
        parse_attestation_file(json.dumps(old).encode())
    assert "cosign bundle create" in caught.value.next_step
    later = {"version": 2, "verification_material": {}, "envelope": {}}
    with pytest.raises(RefusedError, match="expected version 1, got 2"):
        parse_attestation_file(json.dumps(later).encode())
    text = json.dumps(bundle())
    for raw, name in (
        (text.encode("utf-16"), "UTF-16"),
        (text.encode("utf-8-sig"), "byte order mark"),
    ):
        with pytest.raises(RefusedError, match=name) as caught:
            parse_attestation_file(raw)
        assert caught.value.reason == "text-encoding"


def test_every_cut_is_an_error_of_ours() -> None:
    raw = json.dumps(pep_740(bundle())).encode()
    for length in range(0, len(raw), 97):
        with pytest.raises(ApplianceError):
            parse_attestation_file(raw[:length])
