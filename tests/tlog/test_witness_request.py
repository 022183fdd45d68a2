"""What a log and a witness say to each other: one spelling, and nothing believed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LimitError, MalformedError
from appliance.tlog.merkle import Hash, TreeHead, as_hash
from appliance.tlog.proof import verify_consistency
from appliance.tlog.witness_request import (
    MAX_PROOF_LINES,
    MAX_REQUEST_BYTES,
    WitnessRequest,
    parse_size,
    parse_size_answer,
    parse_witness_request,
)
from tests.shared import vectors

NOTE = b"log.example\n1\nAAAA\n\n\xe2\x80\x94 log.example AAAAAAAA\n"


def test_a_request_of_tessera_is_read_and_written_byte_for_byte() -> None:
    data = vectors()["tessera_testdata"]
    raw = data["add_checkpoint_body_8_to_15"].encode()
    request = parse_witness_request(raw)
    assert bytes(request) == raw
    assert request.old_size == 8
    roots = {int(size): bytes.fromhex(root) for size, root in data["roots_hex"].items()}
    old, new = TreeHead(8, as_hash(roots[8])), TreeHead(15, as_hash(roots[15]))
    verify_consistency(old, new, request.proof)


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF_LINES),
)
def test_what_is_written_is_read_again(size: int, hashes: list[bytes]) -> None:
    request = WitnessRequest(size, tuple(Hash(one) for one in hashes), NOTE)
    assert parse_witness_request(bytes(request)) == request


@given(st.binary(max_size=300))
def test_what_is_read_has_one_spelling(raw: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert bytes(parse_witness_request(raw)) == raw


HASH = b"A" * 43 + b"="


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        NOTE,
        b"old 1\n",
        b"old 1\n" + NOTE,
        b"old 01\n\n" + NOTE,
        b"old +1\n\n" + NOTE,
        b"old 1 \n\n" + NOTE,
        b"old  1\n\n" + NOTE,
        b"old 9223372036854775808\n\n" + NOTE,
        b"Old 1\n\n" + NOTE,
        b"old 1\n" + HASH[:-1] + b"\n\n" + NOTE,
        b"old 1\n" + HASH + b" \n\n" + NOTE,
        b"old 1\n" + b"A" * 44 + b"\n\n" + NOTE,
        b"old 1\n" + (HASH + b"\n") * (MAX_PROOF_LINES + 1) + b"\n" + NOTE,
        "old \N{FULLWIDTH DIGIT ONE}\n\n".encode() + NOTE,
    ],
)
def test_another_spelling_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_witness_request(raw)


def test_what_is_too_long_is_not_read() -> None:
    with pytest.raises(LimitError):
        parse_witness_request(b"old 1\n\n" + bytes(MAX_REQUEST_BYTES))


def test_sizes_have_one_spelling() -> None:
    assert [parse_size(text) for text in ("0", "7", str(2**63 - 1))] == [0, 7, 2**63 - 1]
    for text in ("", "00", "-1", "1_0", " 1", "1\n", str(2**63), "9" * 19, "9" * 99):
        assert parse_size(text) is None, text
    assert parse_size_answer(b"20\n") == 20
    assert parse_size_answer(b"20\n\n") is None
