"""A witness whose key is ML-DSA-44: it cosigns as any witness does, and signs nothing else."""

from __future__ import annotations

import sys
from base64 import b64decode
from pathlib import Path

import pytest

from appliance.errors import MalformedError, RefusedError
from appliance.tlog.checkpoint import Checkpoint, SignedCheckpoint
from appliance.tlog.cosignature import cosign
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.tlog.note import (
    SigningKey,
    parse_kept_key,
    parse_pkcs8_key,
    parse_signing_key,
    sign_note,
)
from appliance.tlog.note_keys import KeyType, parse_vkey
from tests.cli.homes import NOW
from tests.simulator import SimulatedLog
from tests.witness.test_witness import NAME, WitnessHome, asking, refused

pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")

KEY = SigningKey("w.example", b"w" * 32, KeyType.ML_DSA_44)


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> WitnessHome:
    return WitnessHome(tmp_path / "home", capsys, "witness-ml-dsa-44")


def test_a_log_that_grows_is_cosigned_each_time(home: WitnessHome) -> None:
    assert parse_vkey(home.vkey).key_type is KeyType.ML_DSA_44
    witness, old = home.witness(), 0
    for more in (3, 1, 300):
        home.log.grow(more)
        done = witness.cosign(asking(home.log, old))
        assert home.verify(done.note, home.log) == NOW
        old = home.log.tree_size
    assert home.size() == old
    home.log.grow(1)
    fork = home.log.fork(at=5)
    fork.grow(400)
    refused(lambda: witness.cosign(asking(fork, old)), "proof")


def test_it_is_known_by_its_type_and_without_a_name(home: WitnessHome) -> None:
    home.log.grow(2)
    shown = home.json("key", "show", NAME)
    assert (shown["type"], shown["vkey"]) == ("witness-ml-dsa-44", home.vkey)
    (home.path / "request").write_bytes(bytes(asking(home.log, 0)))
    out = home.path / "cosigned"
    home.json("witness", "sign", home.path / "request", "--output", out)
    assert home.verify(out.read_bytes(), home.log) == NOW


def test_it_can_be_encrypted(home: WitnessHome) -> None:
    file = home.path / "passphrase"
    file.write_text("of a test, and long enough\n")
    file.chmod(0o600)
    path = home.path / "keys" / f"{NAME}.key"
    before = path.read_text()
    home.json("key", "passphrase", NAME, "--new-file", file)
    assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    home.json("config", "set", "keys.passphraseFile", file)
    assert home.json("key", "show", NAME)["vkey"] == home.vkey
    assert parse_signing_key(before.strip()).verifier.vkey == home.vkey


def test_a_key_file_holds_the_type_and_the_seed() -> None:
    line = KEY.skey
    assert b64decode(line.rpartition("+")[2]) == b"\x06" + b"w" * 32
    assert parse_signing_key(line) == KEY
    assert parse_kept_key("w.example", KEY.pkcs8) == KEY
    with pytest.raises(MalformedError, match="Ed25519"):
        parse_pkcs8_key("w.example", KEY.pkcs8)  # of a log that is adopted
    with pytest.raises(MalformedError):
        parse_signing_key(line.replace("w.example", "v.example"))


def test_it_signs_no_note_and_so_no_log_and_no_bundle(home: WitnessHome) -> None:
    with pytest.raises(RefusedError) as error:
        sign_note("text\n", [KEY])
    assert error.value.reason == "key-role"
    own = home.path / "keys" / "own.example.key"
    own.write_text(SigningKey("own.example", b"o" * 32, KeyType.ML_DSA_44).skey + "\n")
    own.chmod(0o600)
    said = home.json("log", "create", "own", "--origin", "own.example", "--use-key", expect=8)
    assert said["reason"] == "key-role"


def test_a_name_that_has_no_room_is_refused() -> None:
    origin = "o" * 256
    log = SimulatedLog("log.example")
    checkpoint = Checkpoint(origin, TreeHead(0, EMPTY_ROOT))
    with pytest.raises(RefusedError) as error:
        cosign(SignedCheckpoint(checkpoint, log.checkpoint_at(0), ()), KEY, NOW)
    assert error.value.reason == "too-long"


def test_where_cryptography_is_too_old_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = WitnessHome(tmp_path / "home", capsys)
    name = "cryptography.hazmat.primitives.asymmetric.mldsa"
    monkeypatch.setitem(sys.modules, name, None)
    words = ("key", "generate", "pq.example", "--type", "witness-ml-dsa-44")
    error = home.json(*words, expect=8)
    assert error["reason"] == "unsupported-key"
    assert "cryptography" in error["message"]
    assert not (home.path / "keys" / "pq.example.key").exists()
    monkeypatch.delitem(sys.modules, name)
    home.json(*words)
