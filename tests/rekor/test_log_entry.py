"""Log entry answers and signed entry timestamps."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LimitError, MalformedError, SignatureError
from appliance.rekor.protojson import MAX_INT64
from appliance.rekor.set import set_payload, verify_set
from appliance.rekor.transparency_log_entry import (
    InclusionProof,
    TransparencyLogEntry,
    format_log_entry,
    parse_log_entry,
)
from appliance.tlog.merkle import Hash
from appliance.tlog.note_keys import rekor_v1_key
from appliance.value import replaced
from tests.pki.authorities import spki
from tests.pki.logs import V1Log
from tests.shared import vectors

HASH = st.binary(min_size=32, max_size=32).map(Hash)
INDEX = st.integers(0, MAX_INT64)
WORD = st.text("abc.012", min_size=1)
PROOFS = st.builds(
    InclusionProof, INDEX, HASH, INDEX, st.lists(HASH, max_size=5).map(tuple), st.text()
)
ENTRIES = st.builds(
    TransparencyLogEntry,
    log_index=INDEX,
    log_id=HASH,
    kind=WORD,
    version=WORD,
    canonicalized_body=st.binary(min_size=1),
    integrated_time=INDEX,
    inclusion_promise=st.none() | st.binary(min_size=1),
    inclusion_proof=st.none() | PROOFS,
)


@given(ENTRIES)
def test_an_entry_formats_and_parses_back(entry: TransparencyLogEntry) -> None:
    assert parse_log_entry(json.dumps(format_log_entry(entry)).encode()) == entry
    assert parse_log_entry(entry.json) == entry


def test_an_answer_writes_out_what_is_unset() -> None:
    entry = TransparencyLogEntry(0, bytes(32), "hashedrekord", "0.0.2", b"{}")
    answer = json.loads(entry.json)
    assert answer["integratedTime"] == "0"
    assert answer["inclusionPromise"] is None
    assert answer["logIndex"] == "0"
    assert "inclusionPromise" not in format_log_entry(entry)


def whole() -> dict[str, Any]:
    entry = V1Log().add(b'{"kind":"k","apiVersion":"1"}')
    return format_log_entry(entry)


@pytest.mark.parametrize("name", ["logId", "kindVersion", "canonicalizedBody"])
def test_a_missing_part_is_malformed(name: str) -> None:
    fields = whole()
    del fields[name]
    with pytest.raises(MalformedError, match=name):
        parse_log_entry(json.dumps(fields).encode())


def test_ids_hashes_and_counts_are_checked() -> None:
    fields = whole()
    fields["logId"]["keyId"] = "AAAA"
    with pytest.raises(MalformedError, match="expected 32 bytes, got 3"):
        parse_log_entry(json.dumps(fields).encode())
    fields = whole()
    fields["inclusionProof"]["rootHash"] = "AAAA"
    with pytest.raises(MalformedError, match="32 bytes"):
        parse_log_entry(json.dumps(fields).encode())
    fields = whole()
    fields["inclusionProof"]["hashes"] = ["AAAA"] * 65
    with pytest.raises(LimitError):
        parse_log_entry(json.dumps(fields).encode())
    with pytest.raises(MalformedError):
        parse_log_entry(b"[]")


def test_a_real_promise_verifies_under_the_logs_key_and_no_other() -> None:
    entries = [
        parse_log_entry(json.dumps(one["tle"]).encode())
        for one in vectors()["log_entries"]
        if "inclusionPromise" in one["tle"]
    ]
    spkis = {key["log_id_b64"]: key["spki_b64"] for key in vectors()["keys"]}
    assert len(entries) == 7
    for entry in entries:
        log_id = base64.b64encode(entry.log_id).decode()
        key = rekor_v1_key("rekor", base64.b64decode(spkis[log_id]))
        assert verify_set(entry, key) == entry.integrated_time
        for changed in (
            replaced(entry, integrated_time=entry.integrated_time + 1),
            replaced(entry, log_index=entry.log_index + 1),
            replaced(entry, log_id=bytes(32)),
            replaced(entry, canonicalized_body=entry.canonicalized_body + b" "),
        ):
            with pytest.raises(SignatureError) as caught:
                verify_set(changed, key)
            assert caught.value.reason == "bad-set"
        with pytest.raises(SignatureError):
            verify_set(entry, rekor_v1_key("rekor", spki(V1Log().key)))


def test_the_payload_is_the_one_the_log_signed() -> None:
    entries = [parse_log_entry(json.dumps(one["tle"]).encode()) for one in vectors()["log_entries"]]
    (entry,) = [one for one in entries if one.log_index == 771488337]
    assert hashlib.sha256(set_payload(entry)).hexdigest() == (
        "e398750bc17b62cac442860d3c90183c6abcdccb452525e52e9722e3d0f96b28"
    )


def test_an_entry_without_promise_has_none_to_verify() -> None:
    entry = replaced(V1Log().add(b'{"kind":"k","apiVersion":"1"}'), inclusion_promise=None)
    with pytest.raises(SignatureError) as caught:
        verify_set(entry, rekor_v1_key("rekor", spki(V1Log().key)))
    assert caught.value.reason == "no-set"
