"""Whatever a command opened, it closed, also where it failed.

Python warns of a database that was left open only since 3.13, and only when it is collected;
the tests' own stores may be, so that what the product leaves is counted here.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.cli.homes import Home
from tests.cli.mirrored import MirroredHome

_connect = sqlite3.connect


class Counted(sqlite3.Connection):
    """A connection that knows whether it was closed."""

    opened: list[Counted]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.open = True
        Counted.opened.append(self)

    def close(self) -> None:
        """Close it."""
        self.open = False
        super().close()


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    Counted.opened = []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return _connect(*arguments, factory=Counted, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)


COMMANDS = [
    ("sync-status",),
    ("status",),
    ("check",),
    ("doctor",),
    ("metrics",),
    ("store", "check"),
    ("store", "gc"),
    ("store", "backup", "OUT"),
    ("tiles", "verify"),
    ("checkpoint", "show", "--backend", "sim"),
    ("checkpoint", "show", "--backend", "unknown"),
    ("prove", "--origin", "ORIGIN", "--index", "2", "--output", "OUT"),
    ("prove", "--origin", "ORIGIN", "--index", "2000000", "--output", "OUT"),
    ("export", "--full", "--output", "OUT.tar"),
    ("import", "missing.tar"),
    ("queue", "list"),
    ("queue", "show", "unknown"),
    ("alerts", "list"),
    ("journal", "verify"),
    ("index", "build"),
    ("index", "status"),
    ("entries", "search", "--digest", "ab" * 32),
    ("entries", "search", "--digest", "cd" * 32, "--origin", "unknown.example"),
    ("config", "show"),
    ("config", "set", "sync.no-such-setting", "1"),
    ("drill", "--attack", "none", "--directory", "."),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_closes_what_it_opened(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = MirroredHome(tmp_path / "home", capsys, "connected")
    home.sync(5)
    Counted.opened.clear()
    words = [word.replace("OUT", str(tmp_path / "out")) for word in command]
    code, _, err = home.run(*(home.log.origin if word == "ORIGIN" else word for word in words))
    assert code != 1, err
    assert Counted.opened
    assert [one for one in Counted.opened if one.open] == []


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100])
def test_a_damaged_database_is_closed(
    damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home", capsys)
    (tmp_path / "home" / "attestor.db").write_bytes(damage)
    Counted.opened.clear()
    code, _, _ = home.run("sync-status")
    assert code == 6
    assert [one for one in Counted.opened if one.open] == []
