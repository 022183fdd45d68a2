"""Checkpoints: signed bytes and parsed value determine each other."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MalformedError, SignatureError, VerificationError
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from appliance.tlog.merkle import EMPTY_ROOT, MAX_TREE_SIZE, Hash, TreeHead
from appliance.tlog.note import SigningKey, parse_note, sign_note
from appliance.tlog.note_keys import VerifierKey, log_key, parse_vkey, rekor_v1_key
from tests.shared import shared, vectors

SIGNER = SigningKey("log.example", b"l" * 32)
ROOT = b64encode(b"r" * 32).decode()
TEXT = f"log.example\n7\n{ROOT}\n"
LINES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
HEADS = st.builds(
    TreeHead, st.integers(1, MAX_TREE_SIZE), st.binary(min_size=32, max_size=32).map(Hash)
) | st.just(TreeHead(0, EMPTY_ROOT))
CHECKPOINTS = st.builds(Checkpoint, LINES, HEADS, st.lists(LINES, max_size=3).map(tuple))


def keys_of_the_vectors() -> list[VerifierKey]:
    return [
        (rekor_v1_key if key["kind"] == "v1" else log_key)(key["name"], b64decode(key["spki_b64"]))
        for key in vectors()["keys"]
    ]


# Published checkpoints.


def test_every_real_checkpoint_opens_to_the_published_head() -> None:
    for entry in vectors()["log_entries"]:
        raw = entry["tle"]["inclusionProof"]["checkpoint"]["envelope"].encode()
        opened = open_checkpoint(raw, keys_of_the_vectors(), entry["origin"])
        assert opened.origin == entry["origin"]
        assert opened.head == TreeHead(entry["tree_size"], Hash(bytes.fromhex(entry["root_hex"])))
        assert list(opened.checkpoint.extensions) == entry["extension_lines"]
        assert str(opened.checkpoint) == parse_note(raw).text
        assert opened.note == raw
        assert len(opened.signers) == 1
        assert opened.checkpoint.frozen == ""


def test_the_timestamp_line_of_old_rekor_is_an_extension() -> None:
    entries = [one for one in vectors()["log_entries"] if one["extension_lines"]]
    assert len(entries) == 2
    assert all(one["extension_lines"][0].startswith("Timestamp: ") for one in entries)


@pytest.mark.parametrize("size", range(16))
def test_the_real_tessera_checkpoints_open_and_are_made_again_byte_for_byte(size: int) -> None:
    testdata = vectors()["tessera_testdata"]
    raw = (shared("corpus/tessera/testdata/log") / f"checkpoint.{size}").read_bytes()
    assert raw.decode() == testdata["checkpoints"][str(size)]
    opened = open_checkpoint(raw, [parse_vkey(testdata["vkey"])], "example.com/log/testdata")
    head = TreeHead(size, Hash(bytes.fromhex(testdata["roots_hex"][str(size)])))
    assert opened.head == head
    assert str(Checkpoint("example.com/log/testdata", head)) == parse_note(raw).text


def test_the_private_logs_checkpoints_are_made_byte_for_byte() -> None:
    first = vectors()["private_log_first_entry"]
    leaf = Hash(bytes.fromhex(first["leaf_hash_hex"]))
    for name, head, extensions in (
        ("checkpoint_size_0", TreeHead(0, EMPTY_ROOT), ()),
        ("checkpoint_size_1", TreeHead(1, leaf), ()),
        (
            "checkpoint_size_1_frozen",
            TreeHead(1, leaf),
            ("Log frozen \u2014 Thu Jan  1 00:00:00 UTC 2026",),
        ),
    ):
        text = str(Checkpoint("rekor-local", head, extensions))
        assert text == parse_note(first[name].encode()).text


def test_a_frozen_log_says_when() -> None:
    raw = vectors()["private_log_first_entry"]["checkpoint_size_1_frozen"]
    checkpoint = parse_checkpoint(parse_note(raw.encode()).text)
    assert checkpoint.frozen == "Thu Jan  1 00:00:00 UTC 2026"
    assert parse_checkpoint(TEXT).frozen == ""
    assert parse_checkpoint(TEXT + "other\nLog frozen \u2014 now\n").frozen == "now"
    assert parse_checkpoint(TEXT + "Log frozen - now\n").frozen == ""


# One spelling.


@given(CHECKPOINTS)
def test_what_was_formatted_parses(checkpoint: Checkpoint) -> None:
    assert parse_checkpoint(str(checkpoint)) == checkpoint


@given(st.text() | st.text(alphabet="0123456789\n +-_Aa=", max_size=70))
def test_any_text_is_a_checkpoint_in_its_one_spelling_or_malformed(text: str) -> None:
    for candidate in (text, text + TEXT, TEXT + text, f"log.example\n{text}\n{ROOT}\n"):
        try:
            assert str(parse_checkpoint(candidate)) == candidate
        except MalformedError:
            continue


SIZES = ["+7", "-7", " 7", "7 ", "07", "7_0", "7.0", "7e0", "0x7", "", "\u0667", "\uff17", "seven"]
SIZES += ["7\r", "7\x0b", "-0", "00", str(2**63), "9" * 5000, "1" * 4000]
OTHER_SPELLINGS = {
    "nothing": "",
    "a newline": "\n",
    "origin only": "log.example\n",
    "no root": "log.example\n7\n",
    "no last newline": TEXT[:-1],
    "an empty line more": TEXT + "\n",
    "an empty extension": TEXT + "\nmore\n",
    "an empty line first": "\n" + TEXT,
    "no origin": f"\n7\n{ROOT}\n",
    "no size": f"log.example\n\n{ROOT}\n",
    "an empty root": "log.example\n7\n\n",
    "carriage returns": TEXT.replace("\n", "\r\n"),
    "a short root": f"log.example\n7\n{b64encode(bytes(31)).decode()}\n",
    "a long root": f"log.example\n7\n{b64encode(bytes(33)).decode()}\n",
    "no padding": TEXT.replace("=", ""),
    "stray bits in the root": f"log.example\n7\n{ROOT[:-2]}J=\n",
    "a space after the root": f"log.example\n7\n{ROOT} \n",
    "a URL-safe root": f"log.example\n7\n{'_' * 43}=\n",
    "an empty tree with a root": f"log.example\n0\n{ROOT}\n",
    **{f"size {size[:12]!r}": f"log.example\n{size}\n{ROOT}\n" for size in SIZES},
}


@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_another_spelling_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_checkpoint(OTHER_SPELLINGS[name])
    assert len(caught.value.message) < 400


def test_the_message_says_what_was_wrong() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_checkpoint("log.example\n7\n\n")
    assert caught.value.message == r"not a checkpoint: 'log.example\n7\n\n'"
    with pytest.raises(MalformedError) as caught:
        parse_checkpoint(f"log.example\n{2**63}\n{ROOT}\n")
    assert f"no tree has {2**63} leaves" in caught.value.message


# Opening.


def test_a_flipped_byte_is_an_error() -> None:
    raw = sign_note(TEXT, [SIGNER])
    for position in range(len(raw)):
        for mask in (1, 0x20, 0x80, 0xFF):
            flipped = bytearray(raw)
            flipped[position] ^= mask
            with pytest.raises((MalformedError, SignatureError)):
                open_checkpoint(bytes(flipped), [SIGNER.verifier], "log.example")


def test_a_checkpoint_cut_anywhere_is_an_error() -> None:
    raw = sign_note(TEXT, [SIGNER])
    for length in range(len(raw)):
        with pytest.raises(VerificationError):
            open_checkpoint(raw[:length], [SIGNER.verifier], "log.example")


def test_a_checkpoint_of_another_log_by_the_same_key_is_refused() -> None:
    raw = sign_note(TEXT.replace("log.example", "other.example"), [SIGNER])
    with pytest.raises(SignatureError) as caught:
        open_checkpoint(raw, [SIGNER.verifier], "log.example")
    assert caught.value.reason == "wrong-origin"
    assert caught.value.message == (
        "checkpoint of another log: expected origin 'log.example', got 'other.example'"
    )


def test_a_signed_note_that_is_no_checkpoint_is_malformed() -> None:
    with pytest.raises(MalformedError):
        open_checkpoint(sign_note("hello\n", [SIGNER]), [SIGNER.verifier], "hello")


def test_a_signed_text_with_an_empty_line_is_no_checkpoint() -> None:
    with pytest.raises(MalformedError):
        open_checkpoint(sign_note(TEXT + "\nx\n", [SIGNER]), [SIGNER.verifier], "log.example")


def test_the_logs_line_need_not_be_the_first() -> None:
    other = SigningKey("other.example", b"o" * 32)
    raw = sign_note(TEXT, [other, SIGNER])
    opened = open_checkpoint(raw, [SIGNER.verifier], "log.example")
    assert opened.signers == (SIGNER.verifier,)


def test_the_extension_lines_are_signed() -> None:
    raw = sign_note(TEXT + "Log frozen \u2014 now\n", [SIGNER])
    thawed = raw.replace("Log frozen \u2014 now\n".encode(), b"")
    assert open_checkpoint(raw, [SIGNER.verifier], "log.example").checkpoint.frozen == "now"
    with pytest.raises(SignatureError):
        open_checkpoint(thawed, [SIGNER.verifier], "log.example")
