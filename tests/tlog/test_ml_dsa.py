"""ML-DSA-44: keys of logs and of witnesses, and what exactly they sign."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest

from appliance.errors import MalformedError, RefusedError, SignatureError
from appliance.tlog import ml_dsa
from appliance.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from appliance.tlog.cosignature import open_cosignatures, parse_witness_vkey
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.ml_dsa import subtree_message
from appliance.tlog.note import NoteSignature, SigningKey, add_signatures
from appliance.tlog.note_keys import (
    KeyType,
    VerifierKey,
    log_key,
    ml_dsa_44,
    parse_vkey,
    rekor_v1_key,
)
from appliance.tlog.quorum import verify_quorum
from appliance.tlog.tlog_policy import parse_tlog_policy

mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")

SECRET = mldsa.MLDSA44PrivateKey.generate()
RAW = SECRET.public_key().public_bytes_raw()
LOG = SigningKey("log.example", b"\x07" * 32)
HEAD = TreeHead(20852163, Hash(sha256(b"root").digest()))
CHECKPOINT = Checkpoint("log.example", HEAD)
NAME = "witness.example/w1"
TIME = 1679315147


def cosigned(
    name: str = NAME,
    checkpoint: Checkpoint = CHECKPOINT,
    time: int = TIME,
    *,
    message: bytes | None = None,
) -> NoteSignature:
    signed = message or subtree_message(name, time, str(checkpoint).encode())
    assert signed is not None
    return NoteSignature(name, ml_dsa_44(name, RAW).key_id, time.to_bytes(8) + SECRET.sign(signed))


def note_with(*lines: NoteSignature, checkpoint: Checkpoint = CHECKPOINT) -> SignedCheckpoint:
    text = str(checkpoint)
    raw = add_signatures(text, [LOG.sign(text), *lines])
    return open_checkpoint(raw, [LOG.verifier], "log.example")


def test_the_message_is_what_the_standard_writes_down() -> None:
    text = str(CHECKPOINT).encode()
    expected = (
        b"subtree/v1\n\0"
        + bytes([len(NAME)])
        + NAME.encode()
        + TIME.to_bytes(8)
        + b"\x0blog.example"
        + bytes(8)
        + HEAD.tree_size.to_bytes(8)
        + HEAD.root_hash
    )
    assert subtree_message(NAME, TIME, text) == expected
    for bad in (b"", b"x\n", b"x\n1\n", b"x\n01\nAA==\n", b"x\n-1\n", b"x\n1\nAA==\n", b"\n1\n"):
        assert subtree_message(NAME, TIME, bad) is None
    assert subtree_message("x" * 256, TIME, text) is None


def test_a_key_has_one_line_and_its_id_is_the_standards() -> None:
    key = ml_dsa_44(NAME, RAW)
    assert key.key_id == sha256(NAME.encode() + b"\n\x06" + RAW).digest()[:4]
    assert key.vkey.endswith(b64encode(b"\x06" + RAW).decode())
    assert parse_vkey(key.vkey) == parse_witness_vkey(key.vkey) == key
    assert log_key(NAME, key.spki) == key
    assert rekor_v1_key(NAME, key.spki).log_id == sha256(key.spki).digest()
    with pytest.raises(MalformedError):
        ml_dsa_44(NAME, RAW[:-1])
    with pytest.raises(MalformedError):
        parse_vkey(key.vkey[:-4])


def test_a_witness_cosigns_and_counts() -> None:
    key = ml_dsa_44(NAME, RAW)
    (found,) = open_cosignatures(note_with(cosigned()), [key])
    assert (found.key, found.timestamp) == (key, TIME)
    policy = parse_tlog_policy(f"witness w {key.vkey}\nquorum w\n".encode())
    assert verify_quorum(note_with(cosigned()), policy) == (found,)
    with pytest.raises(RefusedError):
        verify_quorum(note_with(), policy)


def test_a_log_is_not_its_own_witness() -> None:
    key = ml_dsa_44("log.example", RAW)
    raw = add_signatures(str(CHECKPOINT), [cosigned("log.example")])
    signed = open_checkpoint(raw, [key], "log.example")
    policy = parse_tlog_policy(f"witness w {key.vkey}\nquorum w\n".encode())
    with pytest.raises(RefusedError) as caught:
        verify_quorum(signed, policy)
    assert caught.value.reason == "quorum"


def test_extension_lines_are_not_covered() -> None:
    extended = Checkpoint("log.example", HEAD, ("an extension",))
    key = ml_dsa_44(NAME, RAW)
    assert open_cosignatures(note_with(cosigned(), checkpoint=extended), [key])


@pytest.mark.parametrize(
    "line",
    [
        cosigned(message=subtree_message("other", TIME, str(CHECKPOINT).encode())),
        cosigned(message=subtree_message(NAME, TIME + 1, str(CHECKPOINT).encode())),
        cosigned(
            message=subtree_message(NAME, TIME, str(CHECKPOINT).replace("log", "lag").encode())
        ),
        cosigned(message=str(CHECKPOINT).encode()),
        cosigned(checkpoint=Checkpoint("log.example", TreeHead(1, HEAD.root_hash))),
        cosigned(time=2**63),
    ],
    ids=["name", "time", "origin", "text", "size", "time beyond"],
)
def test_a_cosignature_over_anything_else_does_not_verify(line: NoteSignature) -> None:
    with pytest.raises(SignatureError) as caught:
        open_cosignatures(note_with(line), [ml_dsa_44(NAME, RAW)])
    assert caught.value.reason == "bad-signature"


def test_a_log_signs_with_it() -> None:
    key = ml_dsa_44("log.example", RAW)
    line = cosigned("log.example")
    raw = add_signatures(str(CHECKPOINT), [line])
    assert open_checkpoint(raw, [key], "log.example").head == HEAD
    for cut in (line.signature[:-1], line.signature + b"x", b"", line.signature[:8]):
        assert not key.signed(str(CHECKPOINT).encode(), cut)
    for position in (0, 7, 8, 100, 2427):
        spoiled = bytearray(line.signature)
        spoiled[position] ^= 1
        assert not key.signed(str(CHECKPOINT).encode(), bytes(spoiled))


def test_where_the_library_has_no_ml_dsa_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    with pytest.raises(RefusedError) as caught:
        ml_dsa.load_ml_dsa_44(RAW)
    assert caught.value.reason == "unsupported-key"
    key = VerifierKey(NAME, KeyType.ML_DSA_44, RAW, bytes(32))
    assert key.spki.endswith(RAW)
