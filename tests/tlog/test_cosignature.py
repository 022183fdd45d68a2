"""Cosignatures: published ones open with their times; a witness's key is of type 4."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MalformedError, SignatureError
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.cosignature import (
    Cosignature,
    cosign,
    cosigner_key,
    open_cosignatures,
    parse_witness_vkey,
)
from appliance.tlog.note import NoteSignature, SigningKey, add_signatures, parse_note, sign_note
from appliance.tlog.note_keys import log_key, parse_vkey, rekor_v1_key
from appliance.value import replaced
from tests.shared import shared, vectors

LOG = SigningKey("log.example", b"l" * 32)
ONE, TWO = SigningKey("witness.example/1", b"1" * 32), SigningKey("witness.example/2", b"2" * 32)
TEXT = f"log.example\n7\n{b64encode(b'r' * 32).decode()}\n"


def checkpoint(*cosignatures: NoteSignature, text: str = TEXT) -> SignedCheckpoint:
    raw = add_signatures(text, [LOG.sign(text), *cosignatures])
    return open_checkpoint(raw, [LOG.verifier], "log.example")


def test_the_fixed_vector_is_made_byte_for_byte_and_opens() -> None:
    fixed = vectors()["cosignature_fixed"]
    witness = SigningKey(fixed["cosigner_name"], b64decode(fixed["seed_b64_PUBLIC_TEST_KEY"]))
    testdata = vectors()["tessera_testdata"]
    raw = testdata["checkpoints"]["15"].encode()
    signed = open_checkpoint(raw, [parse_vkey(testdata["vkey"])], "example.com/log/testdata")
    assert parse_note(raw).text == fixed["note_text"]

    line = cosign(signed, witness, fixed["timestamp"])
    assert line.line == fixed["signature_line"]
    assert len(line.key_id + line.signature) == 76
    key = parse_witness_vkey(fixed["vkey_0x04"])
    assert cosigner_key(witness) == key
    assert key.vkey == fixed["vkey_0x04"]

    cosigned = open_checkpoint(
        raw + line.line.encode(), [parse_vkey(testdata["vkey"])], "example.com/log/testdata"
    )
    assert open_cosignatures(cosigned, [key]) == (Cosignature(key, 1_700_000_000),)


def test_three_real_witnesses_of_staging_cosigned() -> None:
    keys = [
        (rekor_v1_key if key["kind"] == "v1" else log_key)(key["name"], b64decode(key["spki_b64"]))
        for key in vectors()["keys"]
    ]
    witnesses = [parse_witness_vkey(vkey) for vkey in vectors()["witness_vkeys"]]
    for entry in vectors()["log_entries"]:
        raw = entry["tle"]["inclusionProof"]["checkpoint"]["envelope"].encode()
        opened = open_cosignatures(open_checkpoint(raw, keys, entry["origin"]), witnesses)
        got = [{"name": one.key.name, "timestamp": one.timestamp} for one in opened]
        assert got == entry["verified_cosignatures"]


@pytest.mark.parametrize(
    ("path", "vkey"),
    [
        ("", "witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN"),
        ("mirror/", "mirror.example.org+3fb148ef+BAAjjch9GyYz0sJsJx7ALhbdAtz2ov0unbzSl1vMp94O"),
    ],
)
def test_a_real_witness_and_a_real_mirror_cosigned(path: str, vkey: str) -> None:
    hashed = "000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706"
    where = f"corpus/sunlight/cmd/skylight/testdata/witness/{path}{hashed}/checkpoint"
    key = parse_witness_vkey(vkey)
    # The log's own line, if there is one, is of a type that Rekor does not use.
    signed = open_checkpoint(shared(where).read_bytes(), [key], "rome2026h1.example.org")
    assert open_cosignatures(signed, [key]) == ()  # a log is not its own witness
    (cosignature,) = open_cosignatures(replaced(signed, signers=()), [key])
    assert cosignature == Cosignature(key, 1_767_139_200)


def test_a_line_of_type_1_by_the_same_key_is_not_a_cosignature() -> None:
    signed = checkpoint(ONE.sign(TEXT))
    assert open_cosignatures(signed, [cosigner_key(ONE)]) == ()


def test_a_log_key_in_place_of_a_witness_key_is_refused_with_the_right_line() -> None:
    fixed = vectors()["cosignature_fixed"]
    with pytest.raises(MalformedError) as caught:
        parse_witness_vkey(fixed["vkey_0x01"])
    assert caught.value.reason == "not-a-witness-key"
    assert caught.value.message == (
        "witness key 'rekor-witness-test': expected type 4 (cosignature), got type 1 (log)"
    )
    assert caught.value.next_step.endswith("its line is " + fixed["vkey_0x04"])


def test_an_ecdsa_key_cannot_be_a_witness() -> None:
    ecdsa = next(key["vkey"] for key in vectors()["keys"] if key["kind"] == "v1")
    with pytest.raises(MalformedError, match=r"expected type 4 \(cosignature\), got type 2"):
        parse_witness_vkey(ecdsa)


def test_a_witness_line_that_is_no_key_at_all_is_malformed() -> None:
    with pytest.raises(MalformedError, match="expected name"):
        parse_witness_vkey("witness")


def test_opening_with_a_key_that_is_no_witness_is_a_callers_bug() -> None:
    with pytest.raises(ValueError, match=r"is not the key of a witness$"):
        open_cosignatures(checkpoint(), [LOG.verifier])


def test_cosignatures_come_in_the_order_of_the_note_one_a_witness() -> None:
    plain = checkpoint()
    signed = checkpoint(cosign(plain, TWO, 5), cosign(plain, ONE, 6), cosign(plain, TWO, 7))
    one, two = cosigner_key(ONE), cosigner_key(TWO)
    assert open_cosignatures(signed, [one, two]) == (Cosignature(two, 5), Cosignature(one, 6))
    assert open_cosignatures(signed, [one]) == (Cosignature(one, 6),)
    assert open_cosignatures(signed, []) == ()
    assert open_cosignatures(plain, [one, two]) == ()


def test_a_bad_cosignature_of_a_known_witness_is_an_error_and_of_a_stranger_is_not() -> None:
    line = cosign(checkpoint(), ONE, 5)
    bad = NoteSignature(line.name, line.key_id, line.signature[:-1] + b"\0")
    with pytest.raises(SignatureError) as caught:
        open_cosignatures(checkpoint(bad), [cosigner_key(ONE)])
    assert caught.value.reason == "bad-signature"
    assert open_cosignatures(checkpoint(bad), [cosigner_key(TWO)]) == ()


def test_every_flipped_byte_of_a_cosignature_is_an_error() -> None:
    line = cosign(checkpoint(), ONE, 1_700_000_000)
    for position in range(len(line.signature)):
        flipped = bytearray(line.signature)
        flipped[position] ^= 1
        bad = NoteSignature(line.name, line.key_id, bytes(flipped))
        with pytest.raises(SignatureError):
            open_cosignatures(checkpoint(bad), [cosigner_key(ONE)])


def test_a_cosignature_cut_or_lengthened_is_an_error() -> None:
    line = cosign(checkpoint(), ONE, 1_700_000_000)
    for length in range(1, len(line.signature)):
        bad = NoteSignature(line.name, line.key_id, line.signature[:length])
        with pytest.raises(SignatureError):
            open_cosignatures(checkpoint(bad), [cosigner_key(ONE)])
    longer = NoteSignature(line.name, line.key_id, line.signature + b"\0")
    with pytest.raises(SignatureError):
        open_cosignatures(checkpoint(longer), [cosigner_key(ONE)])


def test_a_cosignature_covers_the_extension_lines_and_no_other_checkpoint() -> None:
    frozen = TEXT + "Log frozen \u2014 now\n"
    line = cosign(checkpoint(), ONE, 5)
    with pytest.raises(SignatureError):
        open_cosignatures(checkpoint(line, text=frozen), [cosigner_key(ONE)])
    again = cosign(checkpoint(text=frozen), ONE, 5)
    assert open_cosignatures(checkpoint(again, text=frozen), [cosigner_key(ONE)])


def test_a_cosignature_is_no_note_signature_of_its_message() -> None:
    # A witness's key of type 1 and a note spelled like the message must not meet.
    message = f"cosignature/v1\ntime 5\n{TEXT}"
    line = cosign(checkpoint(), ONE, 5)
    note = add_signatures(message, [NoteSignature(ONE.name, line.key_id, line.signature[8:])])
    with pytest.raises(SignatureError):
        open_checkpoint(note, [ONE.verifier], "cosignature/v1")
    with pytest.raises(MalformedError):
        open_checkpoint(sign_note(message, [ONE]), [ONE.verifier], "cosignature/v1")


@given(st.integers(0, 2**63 - 1))
def test_any_time_is_carried(timestamp: int) -> None:
    signed = checkpoint(cosign(checkpoint(), ONE, timestamp))
    assert open_cosignatures(signed, [cosigner_key(ONE)])[0].timestamp == timestamp


@pytest.mark.parametrize("timestamp", [-1, 2**63, 2**64])
def test_a_time_that_no_cosignature_carries_is_not_signed(timestamp: int) -> None:
    with pytest.raises(ValueError, match=f"no cosignature has the timestamp {timestamp}"):
        cosign(checkpoint(), ONE, timestamp)
