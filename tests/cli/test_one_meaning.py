"""An argument is what its option says: no file that lies about changes what it means."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.tlog.note import SigningKey
from tests.cli.homes import Home


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "home", capsys)


def _key(name: str, number: int) -> str:
    return SigningKey(name, bytes([number]) * 32).verifier.vkey


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function: a key as typed from paper, with a file of that name that holds another."""
    monkeypatch.chdir(tmp_path)

    def put(vkey: str) -> str:
        file = tmp_path / vkey
        file.parent.mkdir(parents=True, exist_ok=True)  # the key's base64 may have slashes
        file.write_text(_key("outside.example", 99) + "\n")
        return vkey

    return put


@pytest.mark.parametrize("command", ["add", "remove", "revoke", "replace"])
def test_an_exporter_key_is_never_read_from_a_file_named_like_it(
    home: Home, typed: Callable[[str], str], command: str
) -> None:
    old, new = _key("outside.example", 1), _key("outside.example", 2)
    if command != "add":
        home.json("exporters", "add", old)
    words = {
        "add": ["add", old],
        "remove": ["remove", old],
        "revoke": ["revoke", old, "--reason", "lost"],
        "replace": ["replace", old, new, "--reason", "yearly"],
    }
    for key in (old, new):
        typed(key)
    home.json("exporters", *words[command])
    found = home.json("exporters", "list")
    believed = {one["vkey"] for one in found["exporters"]}
    revoked = {one["vkey"] for one in found["revoked"]}
    expected: dict[str, tuple[set[str], set[str]]] = {
        "add": ({old}, set()),
        "remove": (set(), set()),
        "revoke": (set(), {old}),
        "replace": ({new}, {old}),
    }
    assert (believed, revoked) == expected[command]


def test_a_key_in_a_file_has_an_option_of_its_own(home: Home, tmp_path: Path) -> None:
    old, new = _key("outside.example", 1), _key("outside.example", 2)
    for name, key in (("old.vkey", old), ("new.vkey", new)):
        (tmp_path / name).write_text(f"{key}\r\n" if name == "new.vkey" else f"{key}\n")
    added = home.json("exporters", "add", "--vkey-file", tmp_path / "old.vkey")
    assert added["vkey"] == old
    replaced = home.json(
        *("exporters", "replace", new, "--old-file", tmp_path / "old.vkey", "--reason", "yearly")
    )
    assert (replaced["revoked"], replaced["vkey"]) == (old, new)
    files = ("--old-file", tmp_path / "new.vkey", "--new-file", tmp_path / "old.vkey")
    error = home.json("exporters", "replace", *files, "--reason", "back", expect=8)
    assert "revoked" in error["message"]
    for words in (["add"], ["add", old, "--vkey-file", str(tmp_path / "old.vkey")]):
        assert home.run("exporters", *words)[0] == 2


def test_the_key_of_a_journal_is_never_read_from_a_file_named_like_it(
    home: Home, typed: Callable[[str], str], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    exported = home.json("journal", "export", "--output", journal)
    right, stranger = exported["vkey"], _key("site.example", 7)
    (tmp_path / "right.vkey").write_text(f"{right}\n")
    assert home.json("journal", "verify", journal, "--key-file", tmp_path / "right.vkey")
    # The file named like the stranger's key holds the right one, and changes nothing.
    typed(stranger)
    (tmp_path / stranger).write_text(f"{right}\n")
    home.json("journal", "verify", journal, "--key", stranger, expect=3)
    typed(right)
    assert home.json("journal", "verify", journal, "--key", right)["signers"] == [right]
    assert home.run("journal", "verify", "--key-file", tmp_path / "right.vkey")[0] == 2


def test_a_bundle_id_is_never_a_file(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ab" * 32, "stick"):
        (tmp_path / name).write_bytes(b"something else")
    line = ("custody", "add", "--action", "sealed", "--who", "A. Courier")
    assert home.json(*line, "--bundle", "ab" * 32)["bundleId"] == "ab" * 32
    assert home.run(*line, "--bundle", "stick")[0] == 2


def test_a_digest_is_never_a_file_of_that_name(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is what lies beside such a file its Sigstore bundle."""
    monkeypatch.chdir(tmp_path)
    digest = "sha256:" + hashlib.sha256(b"what was asked about").hexdigest()
    half = digest[:-1]
    for name in (digest, half):
        (tmp_path / name).write_bytes(b"what its maker signed")
        (tmp_path / f"{name}.sigstore.json").write_bytes(b"{}")
    (tmp_path / "key.pem").write_text(home.run("key", "show", "site.example", "--pem")[1])
    key = ("--key", "key.pem")
    error = home.json("verify", digest, *key, expect=5)
    assert "is a digest" in error["message"] and "--bundle" in error["next"]
    assert home.run("verify", half, *key)[0] == 2
    (tmp_path / "list").write_text(f"{half}\t{half}.sigstore.json\n")
    assert "list:1" in home.json("verify", "--from-file", "list", *key, expect=2)["message"]
