from __future__ import annotations

import stat
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.store.home.key_files import load_publisher_key
from appliance.tlog.note import SigningKey
from appliance.tlog.note_keys import KeyType, parse_vkey
from tests.cli.homes import Home

SEED = b"\x07" * 32


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "home", capsys)


def test_a_new_key_is_private_and_its_verifier_key_is_printed(home: Home) -> None:
    vkey = SigningKey("a.example", SEED).verifier.vkey
    assert home.run("key", "generate", "a.example") == (0, f"{vkey}\n", "")
    file = home.path / "keys" / "a.example.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == SigningKey("a.example", SEED).skey + "\n"
    assert home.run("key", "show", "a.example") == (0, f"{vkey}\n", "")


@pytest.mark.parametrize("key_type", ["witness", "mirror"])
def test_cosigners_have_cosignature_keys(home: Home, key_type: str) -> None:
    generated = home.json("key", "generate", "w", "--type", key_type)
    assert parse_vkey(generated["vkey"]).key_type is KeyType.COSIGNATURE
    assert home.json("key", "show", "w")["vkey"] == generated["vkey"]
    assert generated["type"] == key_type
    assert generated["keyId"] == parse_vkey(generated["vkey"]).key_id.hex()


def test_the_pem_is_the_same_key(home: Home) -> None:
    home.run("key", "generate", "p")
    code, pem, _ = home.run("key", "show", "p", "--pem")
    loaded = load_pem_public_key(pem.encode())
    assert code == 0
    assert isinstance(loaded, Ed25519PublicKey)
    assert loaded.public_bytes_raw() == SigningKey("p", SEED).verifier.key
    assert home.json("key", "show", "p")["pem"] == pem


def test_a_publishers_key_is_p256_which_every_log_takes(home: Home) -> None:
    generated = home.json("key", "generate", "p", "--type", "publisher")
    assert (generated["type"], parse_vkey(generated["vkey"]).key_type) == (
        "publisher",
        KeyType.ECDSA,
    )
    file = home.path / "keys" / "p.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = load_publisher_key(home.path, "p")
    assert "PRIVATE" not in repr(key) and key.pem == file.read_bytes()
    public = load_pem_public_key(home.json("key", "show", "p")["pem"].encode())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    digest = sha256(b"a digest").digest()
    public.verify(key.sign_digest(digest), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    assert [one["name"] for one in home.json("key", "list")["keys"]] == ["p", "site.example"]
    # One name, one key: whatever its type.
    for key_type in ("publisher", "bundle"):
        error = home.json("key", "generate", "p", "--type", key_type, expect=9)
        assert error["reason"] == "key-exists"
    file.write_bytes(file.read_bytes()[:-40])
    assert "not an unencrypted private key" in home.json("doctor", expect=3)["message"]
    file.chmod(0o644)
    assert home.json("key", "show", "p", expect=9)["reason"] == "key-permissions"


def test_list_names_every_key_and_its_type(home: Home) -> None:
    home.run("key", "generate", "w", "--type", "witness")
    home.run("log", "create", "own", "--origin", "own.example")
    keys = home.json("key", "list")["keys"]
    assert [(one["name"], one["type"]) for one in keys] == [
        ("own.example", "log"),
        ("site.example", "bundle"),
        ("w", "witness"),
    ]
    _, out, _ = home.run("keys", "list")
    assert out.split("\n")[3].startswith("witness  w+")


def test_a_key_that_does_not_load_does_not_hide_the_others(home: Home) -> None:
    home.run("key", "generate", "w")
    (home.path / "keys" / "w.key").chmod(0o644)
    code, out, err = home.run("key", "list")
    assert code == 9
    assert out.split("\n")[1].startswith("bundle  site.example+")
    assert "w.key is open to others (mode 0644); run: chmod 600" in err


def test_a_key_that_is_not_there_is_not_to_be_made_under_the_name_of_another(home: Home) -> None:
    home.run("log", "create", "own", "--origin", "own.example")

    def step(name: str) -> str:
        error: dict[str, str] = home.json("key", "show", name, expect=5)
        assert error["reason"] == "no-key"
        return error["next"]

    assert step("own").endswith("attestor key show own.example")
    assert step("wrong").endswith("attestor key show own.example")  # what there is
    (home.path / "keys" / "own.example.key").unlink()
    (home.path / "keys" / "site.example.key").unlink()
    assert "backup of keys/" in step("own.example")
    assert step("site.example").endswith("attestor init --site site.example")
    assert "--type TYPE" in step("wrong")
    home.json("init", "--site", "site.example")
    home.json("key", "show", "site.example")


def test_no_keys(home: Home) -> None:
    (home.path / "keys" / "site.example.key").unlink()
    code, out, _ = home.run("key", "list")
    assert (code, out) == (0, "none: make one with 'attestor key generate NAME'\n")


def test_a_key_is_never_overwritten(home: Home) -> None:
    before = (home.path / "keys" / "site.example.key").read_bytes()
    for extra in ([], ["--dry-run"]):
        error = home.json("key", "generate", "site.example", *extra, expect=9)
        assert error["reason"] == "key-exists"
    assert (home.path / "keys" / "site.example.key").read_bytes() == before


def test_a_dry_run_makes_nothing(home: Home) -> None:
    assert home.json("key", "generate", "new", "--dry-run")["dryRun"]
    assert home.json("key", "show", "new", expect=5)["reason"] == "no-key"


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "a b", "a+b", "x" * 101, "--"])
@pytest.mark.parametrize("command", ["generate", "show"])
def test_names_that_are_no_file_names(home: Home, command: str, name: str) -> None:
    code, _, err = home.run("key", command, "--", name)
    assert code == 2
    assert "not a key name" in err
    assert sorted(path.name for path in (home.path / "keys").iterdir()) == ["site.example.key"]
