"""Every list is a table with a line of headings, the same on a terminal and in a pipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.cli.table import table
from appliance.store.database import open_store
from scripts.reference import every_command
from tests.cli.mirrored import MirroredHome
from tests.queue.queues import add

# Each list of the product, with what puts something into it; None: a test of its own has rows.
LISTS: dict[str, list[str] | None] = {
    "queue list": [],
    "queue forecast": [],
    "budget show": [],
    "tenant list": ["tenant", "add", "acme"],
    "key list": ["key", "generate", "other.example"],
    "backend list": [],
    "backend key list": [],
    "checkpoint list": [],
    "sync-status": [],
    "journal list": ["config", "set", "rekorSync.syncInterval", "6m"],
    "custody show": ["custody", "add", "--action", "sealed", "--who", "A. Courier"],
    "watch list": ["watch", "add", "us", "--digest", "ab" * 32],
    "expected list": ["expected", "add", "--digest", "ab" * 32, "--fingerprint", "ab" * 32],
    "exporters list": ["exporters", "add", "VKEY"],
    "receipt list": None,
    "alerts list": None,  # tests/divergence/test_alerts.py
    "quarantine list": None,  # tests/divergence/test_scenarios.py
    "verdicts list": None,  # tests/verify/test_verify.py
    "entries list": None,  # tests/find/test_search.py
}


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    home = MirroredHome(tmp_path / "home", capsys, "connected")
    home.sync(300)
    store = open_store(home.path, write=True)
    add(store, b"something")
    store.close()
    return home


def test_no_list_was_forgotten() -> None:
    lists = {words for words, _ in every_command() if words.split()[-1] == "list"}
    assert {one.removeprefix("attestor ") for one in lists} <= set(LISTS)


def test_every_list_has_headings_over_its_columns(home: MirroredHome) -> None:
    for words, before in LISTS.items():
        if before is None:
            continue
        if before:
            vkey = home.run("key", "show", "other.example")[1].strip()
            before = [vkey if one == "VKEY" else one for one in before]
            assert home.run(*before)[0] == 0, before
        code, out, err = home.run(*words.split())
        assert (code, err) == (0, ""), words
        headings, *rows = out.splitlines()
        assert rows, words
        if words != "sync-status":  # whose ages go on meanwhile
            assert home.run(*words.split(), "--no-headers") == (0, "\n".join(rows) + "\n", "")
        columns = list(re.finditer(r"\S+(?: \S+)*", headings))
        assert len(columns) > 1 and all(one[0][0].isupper() for one in columns), headings
        for row in rows[:1]:
            for column in columns[1:]:  # words begin below their heading, numbers end there
                begins = row[column.start() - 2 : column.start()].isspace()
                ends = not row[column.end() : column.end() + 2].strip()
                assert begins or ends, out


def test_nothing_in_a_cell_makes_another_line_or_steers() -> None:
    lines = table(("Name", "Size"), [("a\nError: b\x1b[2J", 1234), ("", None)], right=("Size",))
    assert lines == [
        "Name                 Size",
        "a\\nError: b\\x1b[2J  1,234",
        "-                       -",
    ]
    assert table(("Name",), []) == []
