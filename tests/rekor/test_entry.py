"""Bodies of log entries: what is read, what is opaque, what is malformed."""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from typing import Any

import pytest

from appliance.errors import LimitError, MalformedError, VerificationError
from appliance.rekor.entry import Digest, Dsse, HashedRekord, OpaqueEntry, parse_entry
from appliance.rekor.verifier_material import parse_pem_material

Json = dict[str, Any]
STRANGE: tuple[Any, ...] = (None, 5, "", "x", [], {}, "\u00e9")
SIGNATURE, KEY = b"signature", b"der of a key"
SHA256 = {"algorithm": "sha256", "value": "ab" * 32}


def base64(raw: bytes) -> str:
    return b64encode(raw).decode()


def pem(label: str) -> str:
    body = base64(KEY)
    return base64(f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode())


VERIFIER = {"publicKey": {"rawBytes": base64(KEY)}, "keyDetails": "PKIX_ED25519_PH"}
PROTOBUF = {"algorithm": "SHA2_512", "digest": base64(bytes(64))}
BODIES: dict[str, Json] = {
    "hashedrekord 0.0.1": {
        "data": {"hash": SHA256},
        "signature": {
            "content": base64(SIGNATURE),
            "publicKey": {"content": pem("CERTIFICATE")},
        },
    },
    "hashedrekord 0.0.2": {
        "hashedRekordV002": {
            "data": PROTOBUF,
            "signature": {"content": base64(SIGNATURE), "verifier": VERIFIER},
        }
    },
    "dsse 0.0.1": {
        "payloadHash": SHA256,
        "signatures": [{"signature": base64(SIGNATURE), "verifier": pem("PUBLIC KEY")}],
    },
    "dsse 0.0.2": {
        "dsseV002": {
            "payloadHash": PROTOBUF,
            "signatures": [{"content": base64(SIGNATURE), "verifier": VERIFIER}],
        }
    },
    "intoto 0.0.2": {
        "content": {
            "payloadHash": SHA256,
            "envelope": {
                "signatures": [
                    {"sig": base64(base64(SIGNATURE).encode()), "publicKey": pem("PUBLIC KEY")}
                ]
            },
        }
    },
}


def body(name: str, spec: Json | None = None) -> bytes:
    kind, version = name.split()
    chosen = BODIES[name] if spec is None else spec
    return json.dumps({"kind": kind, "apiVersion": version, "spec": chosen}).encode()


@pytest.mark.parametrize("name", list(BODIES))
def test_each_kind_is_read(name: str) -> None:
    entry = parse_entry(body(name))
    assert isinstance(entry, HashedRekord | Dsse)
    assert f"{entry.kind} {entry.version}" == name
    digest = entry.data if isinstance(entry, HashedRekord) else entry.payload
    assert str(digest) in (f"sha256:{'ab' * 32}", f"sha512:{'00' * 64}")
    (only,) = entry.signatures
    assert (only.signature, only.verifier.der) == (SIGNATURE, KEY)
    assert only.verifier.is_certificate is (name == "hashedrekord 0.0.1")
    assert only.verifier.key_details == (
        "PKIX_ED25519_PH" if name.endswith("2") and not name.startswith("intoto") else ""
    )


@pytest.mark.parametrize(
    "name", ["rekord 0.0.1", "intoto 0.0.1", "hashedrekord 0.0.3", "dsse 0.0.3", "tuf 0.0.1"]
)
def test_other_kinds_are_opaque(name: str) -> None:
    kind, version = name.split()
    assert parse_entry(body(name, {})) == OpaqueEntry(kind, version)


def test_specs_under_other_names_are_opaque() -> None:
    old = {"hashedRekordV0_0_2": BODIES["hashedrekord 0.0.2"]["hashedRekordV002"]}
    assert isinstance(parse_entry(body("hashedrekord 0.0.2", old)), OpaqueEntry)
    assert isinstance(parse_entry(body("dsse 0.0.2", {"dsseV003": {}})), OpaqueEntry)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"null", b'{"kind":"dsse","apiVersion":"1"}'])
def test_what_is_no_entry_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_entry(raw)


@pytest.mark.parametrize("name", list(BODIES))
def test_every_missing_or_strange_part_is_a_typed_error(name: str) -> None:
    def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        keys: list[Any] = []
        if isinstance(value, dict):
            keys = list(value)
        elif isinstance(value, list):
            keys = list(range(len(value)))
        return [one for key in keys for one in ((*path, key), *places(value[key], (*path, key)))]

    for *parents, last in places(BODIES[name]):
        for strange in STRANGE:
            spec = copy.deepcopy(BODIES[name])
            container: Any = spec
            for key in parents:
                container = container[key]
            container[last] = strange
            try:
                entry = parse_entry(body(name, spec))
            except VerificationError:
                continue
            assert isinstance(entry, Dsse | OpaqueEntry) or last == "keyDetails", (parents, last)


BAD_DIGESTS: dict[str, Json] = {
    "upper-case hex": {"algorithm": "sha256", "value": "AB" * 32},
    "spaces in hex": {"algorithm": "sha256", "value": "ab " * 32},
    "no hex": {"algorithm": "sha256", "value": "xy" * 32},
    "too short": {"algorithm": "sha256", "value": "ab" * 31},
    "an algorithm we do not know": {"algorithm": "sha1", "value": "ab" * 20},
    "another spelling": {"algorithm": "SHA256", "value": "ab" * 32},
}


@pytest.mark.parametrize("name", list(BAD_DIGESTS))
def test_a_digest_has_one_spelling(name: str) -> None:
    spec = copy.deepcopy(BODIES["hashedrekord 0.0.1"])
    spec["data"]["hash"] = BAD_DIGESTS[name]
    with pytest.raises(MalformedError):
        parse_entry(body("hashedrekord 0.0.1", spec))


@pytest.mark.parametrize(
    "digest", [{**PROTOBUF, "algorithm": "SHA3_512"}, {**PROTOBUF, "digest": base64(bytes(63))}]
)
def test_a_v2_digest_is_checked_as_well(digest: Json) -> None:
    spec = copy.deepcopy(BODIES["hashedrekord 0.0.2"])
    spec["hashedRekordV002"]["data"] = digest
    with pytest.raises(MalformedError, match=r"SHA2_256|expected 64 bytes, got 63"):
        parse_entry(body("hashedrekord 0.0.2", spec))


def test_too_many_signatures_are_a_limit() -> None:
    spec = copy.deepcopy(BODIES["dsse 0.0.1"])
    spec["signatures"] *= 33
    with pytest.raises(LimitError):
        parse_entry(body("dsse 0.0.1", spec))


def test_an_intoto_signature_is_base64_of_base64() -> None:
    spec = copy.deepcopy(BODIES["intoto 0.0.2"])
    signature = spec["content"]["envelope"]["signatures"][0]
    for wrong in (base64(b"\xff\xfe"), base64(b"not base64")):
        signature["sig"] = wrong
        with pytest.raises(MalformedError, match="base64"):
            parse_entry(body("intoto 0.0.2", spec))


BAD_PEM: dict[str, bytes] = {
    "empty": b"",
    "one line": b"-----BEGIN PUBLIC KEY-----",
    "not ASCII": b"-----BEGIN PUBLIC KEY-----\n\xff\n-----END PUBLIC KEY-----",
    "another label": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "two labels": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END CERTIFICATE-----\n",
    "two blocks": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n" * 2,
    "text before": b"x\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "a bare label": b"PUBLIC KEY\nAAAA\n-----END PUBLIC KEY-----\n",
    "junk in it": b"-----BEGIN PUBLIC KEY-----\nAA:A\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("name", list(BAD_PEM))
def test_other_pem_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError, match=r"^path: "):
        parse_pem_material(BAD_PEM[name], "path")


def test_pem_may_have_dos_line_ends() -> None:
    raw = b"-----BEGIN PUBLIC KEY-----\r\nAAEC\r\n-----END PUBLIC KEY-----\r\n"
    material = parse_pem_material(raw, "path")
    assert material.der == b"\0\1\2"
    assert material.same_key(b"\0\1\2", is_certificate=False)
    assert not material.same_key(b"\0\1\2", is_certificate=True)
    assert not material.same_key(b"\0\1\3", is_certificate=False)


def test_a_digest_checks_its_own_length() -> None:
    with pytest.raises(MalformedError, match="sha384 digest: expected 48 bytes, got 32"):
        Digest("sha384", bytes(32))
