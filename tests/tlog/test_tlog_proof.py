"""Proof files: the published one byte for byte, every other spelling refused."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LimitError, MalformedError, ProofError, SignatureError
from appliance.tlog.cosignature import cosign, cosigner_key, open_cosignatures
from appliance.tlog.merkle import MAX_TREE_SIZE, Hash
from appliance.tlog.note import SigningKey
from appliance.tlog.note_keys import parse_vkey
from appliance.tlog.tlog_proof import (
    MAX_EXTRA_BYTES,
    MAX_TLOG_PROOF_BYTES,
    TlogProof,
    parse_tlog_proof,
    verify_tlog_proof,
)
from tests.shared import vectors
from tests.simulator import SimulatedLog

HASHES = st.binary(min_size=32, max_size=32).map(Hash)
PROOFS = st.builds(
    TlogProof,
    st.integers(0, MAX_TREE_SIZE - 1),
    st.lists(HASHES, max_size=6).map(tuple),
    st.binary(min_size=1, max_size=100),
    st.binary(max_size=40),
)
NOTE = "log.example\n1\n"  # parsing does not look at it
HASH = b64encode(b"h" * 32).decode()
FIRST = "c2sp.org/tlog-proof@v1"


@pytest.fixture(scope="module")
def log() -> SimulatedLog:
    log = SimulatedLog()
    log.grow(70)
    return log


def proof_of(log: SimulatedLog, index: int, extra: bytes = b"") -> TlogProof:
    return TlogProof(index, log.inclusion_proof(index), log.checkpoint(), extra)


def test_the_published_proof_is_made_byte_for_byte_and_verifies() -> None:
    testdata = vectors()["tessera_testdata"]
    raw = testdata["tlog_proof_index5_size15"].encode()
    assert sha256(raw).hexdigest() == (
        "45e1551b6985c8fded8acc9f5a7b70dbe0b026b61b93e12cff53c9010372f468"
    )
    hashes = tuple(Hash(bytes.fromhex(one)) for one in testdata["inclusion_15"]["5"])
    proof = TlogProof(5, hashes, testdata["checkpoints"]["15"].encode())
    assert bytes(proof) == raw
    assert parse_tlog_proof(raw) == proof
    leaf = Hash(bytes.fromhex(testdata["leaf_hashes_hex"][5]))
    keys = [parse_vkey(testdata["vkey"])]
    checkpoint = verify_tlog_proof(proof, leaf, keys, "example.com/log/testdata")
    assert checkpoint.head.tree_size == 15


def test_every_entry_of_a_log_is_proven_by_a_file(log: SimulatedLog) -> None:
    for index in range(70):
        proof = parse_tlog_proof(bytes(proof_of(log, index, b"extra" * index)))
        verify_tlog_proof(proof, log.leaf(index), [log.key], log.origin)


def test_a_proof_brings_its_cosignatures(log: SimulatedLog) -> None:
    witness = SigningKey("witness.example", b"w" * 32)
    proof = proof_of(log, 5)
    plain = verify_tlog_proof(proof, log.leaf(5), [log.key], log.origin)
    cosigned = TlogProof(5, proof.hashes, proof.note + cosign(plain, witness, 9).line.encode())
    parsed = parse_tlog_proof(bytes(cosigned))
    checkpoint = verify_tlog_proof(parsed, log.leaf(5), [log.key], log.origin)
    (cosignature,) = open_cosignatures(checkpoint, [cosigner_key(witness)])
    assert cosignature.timestamp == 9


def test_another_leaf_index_key_or_origin_does_not_verify(log: SimulatedLog) -> None:
    proof = proof_of(log, 5)
    with pytest.raises(ProofError):
        verify_tlog_proof(proof, log.leaf(6), [log.key], log.origin)
    with pytest.raises(ProofError):
        other = TlogProof(6, proof.hashes, proof.note)
        verify_tlog_proof(other, log.leaf(5), [log.key], log.origin)
    with pytest.raises(SignatureError):
        verify_tlog_proof(proof, log.leaf(5), [SimulatedLog("other").key], log.origin)
    with pytest.raises(SignatureError):
        verify_tlog_proof(proof, log.leaf(5), [log.key], "other")


def test_every_flipped_byte_is_an_error_or_in_the_extra_data(log: SimulatedLog) -> None:
    proof = proof_of(log, 5, b"not authenticated")
    raw = bytes(proof)
    for position in range(len(raw)):
        for mask in (1, 0x80):
            flipped = bytearray(raw)
            flipped[position] ^= mask
            try:
                parsed = parse_tlog_proof(bytes(flipped))
                verify_tlog_proof(parsed, log.leaf(5), [log.key], log.origin)
            except (MalformedError, ProofError, SignatureError):
                continue
            assert (parsed.entry_index, parsed.hashes, parsed.note) == (5, proof.hashes, proof.note)
            assert parsed.extra != proof.extra


def test_a_proof_cut_anywhere_is_an_error(log: SimulatedLog) -> None:
    raw = bytes(proof_of(log, 5))
    for length in range(len(raw)):
        with pytest.raises((MalformedError, SignatureError)):
            parsed = parse_tlog_proof(raw[:length])
            verify_tlog_proof(parsed, log.leaf(5), [log.key], log.origin)


@given(PROOFS)
def test_what_was_formatted_parses(proof: TlogProof) -> None:
    assert parse_tlog_proof(bytes(proof)) == proof


@given(st.binary() | st.text(alphabet="index 0123extra\nA=", max_size=60).map(str.encode))
def test_any_bytes_are_a_proof_in_its_one_spelling_or_malformed(raw: bytes) -> None:
    first = f"{FIRST}\n".encode()
    for candidate in (raw, first + raw, first + b"index 0\n" + raw, first + raw + b"\n\nnote\n"):
        try:
            proof = parse_tlog_proof(candidate)
        except MalformedError:
            continue
        assert bytes(proof) == candidate


def test_a_proof_may_have_no_hashes_and_a_leading_index_of_0() -> None:
    proof = parse_tlog_proof(f"{FIRST}\nindex 0\n\n{NOTE}".encode())
    assert proof == TlogProof(0, (), NOTE.encode())


BAD_PROOFS = {
    "nothing": "",
    "another format": f"c2sp.org/tlog-proof@v2\nindex 0\n\n{NOTE}",
    "no index": f"{FIRST}\n\n{NOTE}",
    "only the first line": FIRST,
    "no checkpoint": f"{FIRST}\nindex 0\n\n",
    "no empty line": f"{FIRST}\nindex 0\n{HASH}\n",
    "extra after the index": f"{FIRST}\nindex 0\nextra AA==\n\n{NOTE}",
    "two extras": f"{FIRST}\nextra AA==\nextra AA==\nindex 0\n\n{NOTE}",
    "an empty extra": f"{FIRST}\nextra \nindex 0\n\n{NOTE}",
    "an extra without a value": f"{FIRST}\nextra\nindex 0\n\n{NOTE}",
    "stray bits in extra": f"{FIRST}\nextra AB==\nindex 0\n\n{NOTE}",
    "two indices": f"{FIRST}\nindex 0\nindex 0\n\n{NOTE}",
    "a leading zero": f"{FIRST}\nindex 00\n\n{NOTE}",
    "a sign": f"{FIRST}\nindex +0\n\n{NOTE}",
    "a negative index": f"{FIRST}\nindex -1\n\n{NOTE}",
    "an underscore": f"{FIRST}\nindex 1_0\n\n{NOTE}",
    "a space": f"{FIRST}\nindex  0\n\n{NOTE}",
    "arabic digits": f"{FIRST}\nindex \u0660\n\n{NOTE}",
    "no number": f"{FIRST}\nindex \n\n{NOTE}",
    "an index of 2^63": f"{FIRST}\nindex {2**63}\n\n{NOTE}",
    "a huge index": f"{FIRST}\nindex {'9' * 100_000}\n\n{NOTE}",
    "a short hash": f"{FIRST}\nindex 0\n{HASH[:-4]}\n\n{NOTE}",
    "a hash with a space": f"{FIRST}\nindex 0\n{HASH} \n\n{NOTE}",
    "a hash with stray bits": f"{FIRST}\nindex 0\n{HASH[:-2]}h=\n\n{NOTE}",
    "64 hashes": f"{FIRST}\nindex 0\n" + f"{HASH}\n" * 64 + f"\n{NOTE}",
    "carriage returns": f"{FIRST}\r\nindex 0\r\n\r\n{NOTE}",
    "a byte order mark": f"\ufeff{FIRST}\nindex 0\n\n{NOTE}",
    "too much extra": f"{FIRST}\nextra {'A' * 90_000}\nindex 0\n\n{NOTE}",
}


@pytest.mark.parametrize("name", BAD_PROOFS)
def test_a_bad_proof_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_tlog_proof(BAD_PROOFS[name].encode())
    assert len(caught.value.message) < 300


def test_a_proof_has_at_most_63_hashes_and_64_kib_of_extra() -> None:
    most = TlogProof(0, (Hash(b"h" * 32),) * 63, b"note", bytes(MAX_EXTRA_BYTES))
    assert parse_tlog_proof(bytes(most)) == most


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("another format", f"not a proof: expected '{FIRST}', got 'c2sp.org/tlog-proof@v2'"),
        ("only the first line", "not a proof: expected an index, got []"),
        ("two extras", "not a proof: expected an index, got ['extra AA==']"),
        ("no checkpoint", "not a proof (a proof has hashes of 32 bytes and a checkpoint)"),
        ("a leading zero", "not a proof in its one spelling: index '00'"),
        ("a short hash", "a hash has 32 bytes, this has 30"),
        ("stray bits in extra", "extra data of the proof: not canonical base64: 'AB=='"),
    ],
)
def test_the_message_names_the_fault(name: str, message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_tlog_proof(BAD_PROOFS[name].encode())
    assert caught.value.message == message


def test_a_file_of_the_largest_size_is_parsed() -> None:
    start = f"{FIRST}\nindex 0\n\n".encode()
    raw = start + b"n" * (MAX_TLOG_PROOF_BYTES - len(start))
    assert bytes(parse_tlog_proof(raw)) == raw


def test_a_larger_file_is_not_looked_at() -> None:
    with pytest.raises(LimitError, match="at most 393216 bytes, this has 393217"):
        parse_tlog_proof(bytes(MAX_TLOG_PROOF_BYTES + 1))


@pytest.mark.parametrize(
    ("index", "hashes", "note", "extra"),
    [
        (-1, (), b"note", b""),
        (MAX_TREE_SIZE, (), b"note", b""),
        (0, (Hash(b"h" * 32),) * 64, b"note", b""),
        (0, (Hash(b"h" * 31),), b"note", b""),
        (0, (), b"", b""),
        (0, (), b"note", bytes(MAX_EXTRA_BYTES + 1)),
    ],
)
def test_an_impossible_proof_cannot_be_made(
    index: int, hashes: tuple[Hash, ...], note: bytes, extra: bytes
) -> None:
    with pytest.raises(
        ValueError, match=r"no tree has|at most 63 hashes|32 bytes and a checkpoint"
    ):
        TlogProof(index, hashes, note, extra)
