"""The reference vectors: real log entries and the first entry of a private log."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest

from appliance.rekor.canonical_json import canonical_json
from appliance.rekor.entry import Dsse, HashedRekord, OpaqueEntry, parse_entry
from appliance.rekor.request import parse_request, verify_request
from appliance.rekor.transparency_log_entry import format_log_entry, parse_log_entry
from appliance.tlog.merkle import leaf_hash
from tests.shared import vectors

N_LOG_ENTRIES = 15


@pytest.fixture(params=range(N_LOG_ENTRIES))
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    entries: list[dict[str, Any]] = vectors()["log_entries"]
    assert len(entries) == N_LOG_ENTRIES
    return entries[int(request.param)]


def test_a_real_log_entry_parses_and_formats_back(vector: dict[str, Any]) -> None:
    entry = parse_log_entry(json.dumps(vector["tle"]).encode())
    assert leaf_hash(entry.canonicalized_body).hex() == vector["leaf_hash_hex"]
    assert len(entry.canonicalized_body) == vector["body_len"]
    assert format_log_entry(entry) == vector["tle"]
    assert parse_log_entry(entry.json) == entry


def test_a_real_body_is_canonical_json(vector: dict[str, Any]) -> None:
    body = b64decode(vector["tle"]["canonicalizedBody"])
    assert canonical_json(json.loads(body)) == body


def test_a_real_body_is_read(vector: dict[str, Any]) -> None:
    entry = parse_entry(b64decode(vector["tle"]["canonicalizedBody"]))
    assert isinstance(entry, HashedRekord | Dsse)
    assert not isinstance(entry, OpaqueEntry)
    assert (entry.kind, entry.version) == (vector["kind"], vector["apiVersion"])
    assert entry.signatures


def test_the_first_entry_of_a_private_log_is_byte_exact() -> None:
    vector = vectors()["private_log_first_entry"]
    request = parse_request(json.dumps(vector["request"]).encode())
    verify_request(request)
    body = request.canonical_body
    assert body.decode() == vector["canonical_body"]
    assert sha256(body).hexdigest() == vector["identity_sha256_hex"]
    assert leaf_hash(body).hex() == vector["leaf_hash_hex"]
    assert json.loads(request.json) == vector["request"]
