"""Signed notes: one form, known signers only, every damaged byte an error or no matter."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LimitError, MalformedError, SignatureError, VerificationError
from appliance.tlog.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    SigningKey,
    add_signatures,
    open_note,
    parse_note,
    parse_signing_key,
    sign_note,
    verified_signatures,
)
from appliance.tlog.note_keys import KeyType, VerifierKey, log_key, parse_vkey, rekor_v1_key
from tests.shared import vectors

FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi"
    "2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
ALICE, BOB = SigningKey("alice", b"a" * 32), SigningKey("bob", b"b" * 32)
TEXT = "said\n"
NAMES = st.text(min_size=1, max_size=20).filter(
    lambda name: not any(c.isspace() or c in "+" or c < " " for c in name)
)
# Control characters and lone surrogates cannot be in a note.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=80).map(
    lambda text: text + "x\n"
)


def signed(text: str = TEXT, *signers: SigningKey) -> bytes:
    return sign_note(text, signers or (ALICE,))


# Published notes.


def test_the_note_of_the_specification_opens() -> None:
    note = open_note(FOO_NOTE.encode(), [parse_vkey(FOO)])
    assert note.text == "This is an example message.\n"
    assert [key.name for key in note.signers] == ["example.com/foo"]
    assert note.raw == FOO_NOTE.encode()


def test_the_checkpoints_of_tessera_are_signed_again_byte_for_byte() -> None:
    testdata = vectors()["tessera_testdata"]
    signer = parse_signing_key(testdata["private_PUBLIC_TEST_KEY"])
    assert signer.verifier == parse_vkey(testdata["vkey"])
    for checkpoint in testdata["checkpoints"].values():
        raw = checkpoint.encode()
        assert sign_note(parse_note(raw).text, [signer]) == raw


def test_the_first_checkpoints_of_the_private_log_are_signed_again_byte_for_byte() -> None:
    published = vectors()["private_log_first_entry"]
    (seed,) = (key["private_seed_hex_PUBLIC_TEST_KEY"] for key in vectors()["keys"] if len(key) > 6)
    signer = SigningKey("rekor-local", bytes.fromhex(seed))
    for name in ("checkpoint_size_0", "checkpoint_size_1", "checkpoint_size_1_frozen"):
        raw = published[name].encode()
        assert sign_note(parse_note(raw).text, [signer]) == raw
        assert open_note(raw, [signer.verifier]).signers == (signer.verifier,)


def test_every_checkpoint_of_a_real_log_opens_under_its_key_and_no_other() -> None:
    keys = []
    for key in vectors()["keys"]:
        make = rekor_v1_key if key["kind"] == "v1" else log_key
        keys.append(make(key["name"], b64decode(key["spki_b64"])))
    for entry in vectors()["log_entries"]:
        raw = entry["tle"]["inclusionProof"]["checkpoint"]["envelope"].encode()
        host = entry["origin"].split(" - ")[0]
        (signer,) = open_note(raw, keys).signers
        assert signer.name == host
        with pytest.raises(SignatureError):
            open_note(raw, [key for key in keys if key != signer])


# The form.


@given(
    TEXTS, st.lists(st.tuples(NAMES, st.binary(min_size=5, max_size=80)), min_size=1, max_size=5)
)
def test_what_was_joined_parses(text: str, lines: list[tuple[str, bytes]]) -> None:
    signatures = tuple(NoteSignature(name, blob[:4], blob[4:]) for name, blob in lines)
    assert parse_note(add_signatures(text, signatures)) == Note(text, signatures)


@given(st.binary() | st.text(alphabet="a\n\u2014 +A=", max_size=40).map(str.encode))
def test_any_bytes_are_a_note_in_its_one_spelling_or_malformed(raw: bytes) -> None:
    for candidate in (raw, raw + FOO_NOTE.encode(), FOO_NOTE.encode() + raw):
        try:
            note = parse_note(candidate)
        except MalformedError:
            continue
        assert add_signatures(note.text, note.signatures) == candidate


BAD_NOTES = {
    "nothing": b"",
    "text only": b"text\n",
    "no signature lines": b"text\n\n",
    "no text": b"\n\n\xe2\x80\x94 a AAAAAAA=\n",
    "no last newline": b"text\n\n\xe2\x80\x94 a AAAAAAA=",
    "two last newlines": b"text\n\n\xe2\x80\x94 a AAAAAAA=\n\n",
    "one newline between": b"text\n\xe2\x80\x94 a AAAAAAA=\n",
    "a space in the empty line": b"text\n \n\xe2\x80\x94 a AAAAAAA=\n",
    "carriage returns": b"text\r\n\r\n\xe2\x80\x94 a AAAAAAA=\r\n",
    "a tab": b"te\txt\n\n\xe2\x80\x94 a AAAAAAA=\n",
    "a NUL": b"te\0xt\n\n\xe2\x80\x94 a AAAAAAA=\n",
    "not UTF-8": b"te\xffxt\n\n\xe2\x80\x94 a AAAAAAA=\n",
    "a surrogate": b"te\xed\xa0\x80xt\n\n\xe2\x80\x94 a AAAAAAA=\n",
    "overlong UTF-8": b"te\xc0\x8axt\n\n\xe2\x80\x94 a AAAAAAA=\n",
    "a hyphen": b"text\n\n- a AAAAAAA=\n",
    "an en dash": b"text\n\n\xe2\x80\x93 a AAAAAAA=\n",
    "no space after the dash": b"text\n\n\xe2\x80\x94a AAAAAAA=\n",
    "no name": b"text\n\n\xe2\x80\x94  AAAAAAA=\n",
    "no signature": b"text\n\n\xe2\x80\x94 a\n",
    "an empty signature": b"text\n\n\xe2\x80\x94 a \n",
    "a key id only": b"text\n\n\xe2\x80\x94 a AAAAAA==\n",
    "two words of base64": b"text\n\n\xe2\x80\x94 a AAAAAAA= AAAAAAA=\n",
    "a trailing space": b"text\n\n\xe2\x80\x94 a AAAAAAA= \n",
    "a leading space": b"text\n\n \xe2\x80\x94 a AAAAAAA=\n",
    "no padding": b"text\n\n\xe2\x80\x94 a AAAAAAA\n",
    "stray bits": b"text\n\n\xe2\x80\x94 a AAAAAAB=\n",
    "a plus in the name": b"text\n\n\xe2\x80\x94 a+b AAAAAAA=\n",
    "a no-break space in the name": b"text\n\n\xe2\x80\x94 a\xc2\xa0b AAAAAAA=\n",
    "a strange line among good ones": FOO_NOTE.encode() + b"strange\n",
    "a bad line among good ones": FOO_NOTE.encode() + b"\xe2\x80\x94 a A\n",
}


@pytest.mark.parametrize("name", BAD_NOTES)
def test_a_bad_note_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError):
        parse_note(BAD_NOTES[name])
    with pytest.raises(MalformedError):
        open_note(BAD_NOTES[name], [parse_vkey(FOO)])


def test_a_text_may_hold_empty_lines_and_dashes() -> None:
    text = "\none\n\n\u2014 bob AAAAAAA=\n\n\n"
    assert open_note(signed(text), [ALICE.verifier]).text == text


def test_a_note_cut_anywhere_is_malformed_or_not_signed() -> None:
    raw = signed(TEXT, ALICE, BOB)
    for length in range(len(raw)):
        with pytest.raises(VerificationError):
            open_note(raw[:length], [BOB.verifier])


def test_a_flipped_byte_is_an_error_or_in_a_line_of_no_matter() -> None:
    raw = signed(TEXT, ALICE, BOB)
    bobs_line = raw.index(b"\xe2\x80\x94 bob")
    for position in range(len(raw)):
        for mask in (1, 2, 0x20, 0x80, 0xFF):
            flipped = bytearray(raw)
            flipped[position] ^= mask
            try:
                note = open_note(bytes(flipped), [ALICE.verifier])
            except (MalformedError, SignatureError):
                continue
            assert position >= bobs_line
            assert (note.text, note.signers) == (TEXT, (ALICE.verifier,))


def test_a_note_of_the_largest_size_is_parsed_and_a_larger_one_is_not() -> None:
    frame = len(signed("\n" * 2))
    text = "x" * (MAX_NOTE_BYTES - frame + 1) + "\n"
    assert len(signed(text)) == MAX_NOTE_BYTES
    assert open_note(signed(text), [ALICE.verifier]).text == text
    with pytest.raises(LimitError, match="at most 262144 bytes, this has 262145"):
        open_note(signed("x" + text), [ALICE.verifier])


def test_a_hundred_signatures_are_parsed_and_one_more_is_not() -> None:
    line = NoteSignature("a", bytes(4), b"x")
    assert len(parse_note(add_signatures(TEXT, [line] * MAX_SIGNATURES)).signatures) == 100
    with pytest.raises(LimitError, match="at most 100 signatures, this has 101"):
        parse_note(add_signatures(TEXT, [line] * (MAX_SIGNATURES + 1)))


@pytest.mark.parametrize("text", ["", "\n", "no newline", "a\x00\n", "a\tb\n", "a\r\n", "\ud800\n"])
def test_a_text_that_cannot_be_a_notes_is_not_signed(text: str) -> None:
    with pytest.raises(ValueError, match=r"a note's text|surrogates"):
        add_signatures(text, [NoteSignature("a", bytes(4), b"x")])


def test_a_note_without_signatures_is_not_made() -> None:
    with pytest.raises(ValueError, match="at least one signature"):
        sign_note(TEXT, [])


# Who signed.


def test_signers_are_the_known_keys_in_the_order_of_the_note() -> None:
    raw = signed(TEXT, BOB, ALICE)
    assert open_note(raw, [ALICE.verifier, BOB.verifier]).signers == (BOB.verifier, ALICE.verifier)
    assert open_note(raw, [ALICE.verifier]).signers == (ALICE.verifier,)
    assert open_note(raw, [BOB.verifier]).signers == (BOB.verifier,)


def test_a_signer_counts_once_however_often_it_signed() -> None:
    raw = signed(TEXT, ALICE, ALICE, ALICE)
    assert open_note(raw, [ALICE.verifier, ALICE.verifier]).signers == (ALICE.verifier,)


def test_only_the_first_line_of_a_signer_is_looked_at() -> None:
    bad = NoteSignature("alice", ALICE.verifier.key_id, bytes(64))
    good = ALICE.sign(TEXT)
    assert open_note(add_signatures(TEXT, [good, bad]), [ALICE.verifier]).signers
    with pytest.raises(SignatureError):
        open_note(add_signatures(TEXT, [bad, good]), [ALICE.verifier])


def test_a_bad_signature_of_a_known_key_is_an_error_among_good_ones() -> None:
    bad = NoteSignature("alice", ALICE.verifier.key_id, bytes(64))
    raw = add_signatures(TEXT, [BOB.sign(TEXT), bad])
    with pytest.raises(SignatureError) as caught:
        open_note(raw, [ALICE.verifier, BOB.verifier])
    assert caught.value.reason == "bad-signature"
    key_id = ALICE.verifier.key_id.hex()
    assert caught.value.message == f"signature of alice+{key_id} does not verify"
    assert open_note(raw, [BOB.verifier]).signers == (BOB.verifier,), "unless nobody knows it"


def test_nobody_known_is_an_error_that_names_both_sides() -> None:
    with pytest.raises(SignatureError) as caught:
        open_note(signed(TEXT, BOB), [ALICE.verifier])
    alice, bob = ALICE.verifier.key_id.hex(), BOB.verifier.key_id.hex()
    assert (
        caught.value.message
        == f"no key that counts here signed it: expected alice+{alice}, got bob+{bob}"
    )
    assert caught.value.reason == "unknown-signer"
    with pytest.raises(SignatureError, match="there is no key to verify it with"):
        open_note(signed(), [])


@pytest.mark.parametrize("other", ["alic", "Alice", "alice2", "bob"])
def test_the_same_key_id_under_another_name_is_unknown(other: str) -> None:
    line = ALICE.sign(TEXT)
    raw = add_signatures(TEXT, [NoteSignature(other, line.key_id, line.signature)])
    with pytest.raises(SignatureError, match="no key that counts here signed"):
        open_note(raw, [ALICE.verifier])


def test_the_same_name_with_another_key_id_is_unknown() -> None:
    line = ALICE.sign(TEXT)
    raw = add_signatures(TEXT, [NoteSignature("alice", bytes(4), line.signature)])
    with pytest.raises(SignatureError, match="no key that counts here signed"):
        open_note(raw, [ALICE.verifier])


def test_two_keys_of_one_name_and_id_are_both_tried() -> None:
    # Four bytes of hash can be made to collide; one key must not hide the other.
    alice = ALICE.verifier
    twin = VerifierKey("alice", KeyType.ED25519, BOB.verifier.key, alice.log_id)
    for keys in ([alice, twin], [twin, alice]):
        assert open_note(signed(), keys).signers == (alice,)
    bad = add_signatures(TEXT, [NoteSignature("alice", alice.key_id, bytes(64))])
    with pytest.raises(SignatureError, match="does not verify"):
        open_note(bad, [alice, twin])


def test_a_strangers_name_cannot_move_the_cursor() -> None:
    stranger = NoteSignature("\u009b2J\u202e", bytes(4), b"x")
    with pytest.raises(SignatureError) as caught:
        open_note(add_signatures(TEXT, [stranger]), [ALICE.verifier])
    assert caught.value.message.isprintable()
    assert caught.value.message.endswith("got '\\x9b2J\\u202e'+00000000")
    assert open_note(add_signatures(TEXT, [stranger, ALICE.sign(TEXT)]), [ALICE.verifier])


def test_verified_signatures_come_with_their_lines_and_none_is_no_error() -> None:
    note = parse_note(signed(TEXT, BOB, ALICE))
    assert verified_signatures(note, [ALICE.verifier]) == ((ALICE.verifier, ALICE.sign(TEXT)),)
    assert verified_signatures(note, []) == ()


# Signing keys.


def test_a_signing_key_prints_without_its_secret() -> None:
    assert repr(ALICE) == str(ALICE) == "SigningKey('alice')"


def test_signing_is_deterministic_and_by_the_book() -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"a" * 32)
    assert ALICE.sign(TEXT).signature == private.sign(TEXT.encode()) == ALICE.sign_bytes(b"said\n")
    assert signed() == signed()
    assert ALICE.verifier.key == private.public_key().public_bytes_raw()


@given(
    st.binary(min_size=32, max_size=32),
    st.text(min_size=1, max_size=20).filter(lambda s: s.isprintable() and not set(s) & set("+ ")),
)
def test_a_secret_line_parses_to_its_key(seed: bytes, name: str) -> None:
    key = SigningKey(name, seed)
    assert parse_signing_key(key.skey) == key


SECRET = b64encode(b"\x01" + b"a" * 32).decode()
BAD_SECRETS = {
    "nothing": "",
    "a public key": FOO,
    "no prefix": ALICE.skey.removeprefix("PRIVATE+KEY+"),
    "another prefix": ALICE.skey.replace("PRIVATE", "private"),
    "another name": ALICE.skey.replace("alice", "alicf"),
    "another id": f"PRIVATE+KEY+alice+00000000+{SECRET}",
    "upper case id": ALICE.skey.replace(
        ALICE.verifier.key_id.hex(), ALICE.verifier.key_id.hex().upper()
    ),
    "no id": f"PRIVATE+KEY+alice+{SECRET}",
    "a short seed": "PRIVATE+KEY+alice+00000000+" + b64encode(b"\x01" + b"a" * 31).decode(),
    "type 4": "PRIVATE+KEY+alice+00000000+" + b64encode(b"\x04" + b"a" * 32).decode(),
    "a newline": ALICE.skey + "\n",
    "a space": " " + ALICE.skey,
    "cut": ALICE.skey[:-1],
    "a name with a space": ALICE.skey.replace("alice", "al ice"),
}


@pytest.mark.parametrize("name", BAD_SECRETS)
def test_a_bad_secret_line_is_rejected_without_being_quoted(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_signing_key(BAD_SECRETS[name])
    assert "YWFh" not in caught.value.message
    assert "YWFh" not in json.dumps(repr(caught.value.__cause__))


def test_every_secret_line_with_one_character_changed_is_rejected() -> None:
    for position in range(len(ALICE.skey)):
        changed = chr(ord(ALICE.skey[position]) ^ 1)
        with pytest.raises(MalformedError):
            parse_signing_key(ALICE.skey[:position] + changed + ALICE.skey[position + 1 :])
