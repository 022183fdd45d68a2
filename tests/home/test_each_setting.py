"""What each setting of the section `keys` does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.value import replaced
from tests.cli.homes import Home


def test_setting_keys_passphraseFile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It opens keys, and encrypts those that are made, unless an option names another file."""
    home = Home(tmp_path / "home", capsys)
    home.app = replaced(home.app, random_bytes=os.urandom)
    file, other = tmp_path / "passphrase", tmp_path / "other"
    for one in (file, other):
        one.write_text(f"{one.name} of a test\n")
        one.chmod(0o600)
    home.json("config", "set", "keys.passphraseFile", file)
    vkey = home.json("key", "generate", "a.example")["vkey"]
    assert "ENCRYPTED" in (home.path / "keys" / "a.example.key").read_text()
    assert home.json("key", "show", "a.example")["vkey"] == vkey
    error = home.json("--passphrase-file", other, "key", "show", "a.example", expect=9)
    assert error["reason"] == "wrong-passphrase"
    home.json("config", "set", "keys.passphraseFile", "null")
    assert home.json("key", "show", "a.example", expect=5)["reason"] == "no-passphrase"
