"""What a log says last about a size, put together from all the notes that were seen for it."""

from __future__ import annotations

import itertools

import pytest

from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key, open_cosignatures
from appliance.tlog.newest_note import newest_note
from appliance.tlog.note import NoteSignature, SigningKey, add_signatures, parse_note
from tests.tlog.test_cosignature import LOG, ONE, TEXT, TWO, checkpoint

WITNESSES = [cosigner_key(ONE), cosigner_key(TWO)]
KEYS = [LOG.verifier, *WITNESSES]
FROZEN = TEXT + "Log frozen \N{EM DASH} Thu Jan  1 00:00:00 UTC 2026\n"
STRANGER = SigningKey("witness.example/3", b"3" * 32)


def times(note: bytes) -> dict[str, int]:
    opened = open_cosignatures(open_checkpoint(note, [LOG.verifier], LOG.name), WITNESSES)
    return {one.key.name: one.timestamp for one in opened}


def cosigned(*by: tuple[SigningKey, int], text: str = TEXT) -> bytes:
    bare = checkpoint(text=text)
    return checkpoint(*(cosign(bare, *one) for one in by), text=text).note


def test_a_single_note_is_not_touched() -> None:
    note = cosigned((STRANGER, 5), (ONE, 4))
    assert newest_note([note], KEYS) == note


def test_the_newest_cosignature_of_every_witness_goes_along_in_any_order() -> None:
    notes = [cosigned((ONE, 10), (TWO, 30)), cosigned((ONE, 20)), cosigned()]
    for order in itertools.permutations(notes):
        assert times(newest_note(order, KEYS)) == {ONE.name: 20, TWO.name: 30}


def test_a_freeze_is_the_last_word_whenever_it_came() -> None:
    notes = [cosigned((ONE, 10), text=FROZEN), cosigned((ONE, 20)), cosigned()]
    for order in itertools.permutations(notes):
        found = newest_note(order, KEYS)
        assert parse_note(found).text == FROZEN
        assert times(found) == {ONE.name: 10}


def test_a_line_that_does_not_verify_is_replaced_by_one_that_does() -> None:
    good = cosign(checkpoint(), ONE, 10)
    bad = NoteSignature(good.name, good.key_id, good.signature[:-1] + b"\x00")
    found = newest_note([checkpoint(good).note, checkpoint(bad).note], KEYS)
    assert times(found) == {ONE.name: 10}


def test_both_keys_of_a_rotation_stay() -> None:
    second = SigningKey(LOG.name, b"m" * 32)
    new = add_signatures(TEXT, [second.sign(TEXT)])
    found = newest_note([checkpoint().note, new], [LOG.verifier, second.verifier])
    signed: SignedCheckpoint = open_checkpoint(found, [LOG.verifier, second.verifier], LOG.name)
    assert set(signed.signers) == {LOG.verifier, second.verifier}


def test_no_note_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no note"):
        newest_note([], KEYS)
