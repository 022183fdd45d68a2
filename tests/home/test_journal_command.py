"""journal: what the commands write into it, and what is found when somebody rewrites it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from appliance.store.home.journal import append_event
from appliance.tlog.note import SigningKey, parse_note, sign_note
from tests.cli.homes import Home


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "home", capsys)


def events(home: Home) -> list[tuple[str, Any]]:
    lines = home.json("journal", "list", "--last", "1000")["lines"]
    return [(line["event"], line["details"]) for line in lines]


def test_an_empty_journal_is_whole(home: Home) -> None:
    assert home.run("journal", "list") == (0, "no line\n", "")
    assert home.json("journal", "verify")["lines"] == 0


def test_what_changes_a_home_is_in_its_journal(home: Home, tmp_path: Path) -> None:
    home.json("config", "set", "rekorSync.syncInterval", "10m")
    home.json("config", "set", "rekorSync.syncInterval", "11m", "--dry-run")
    home.json("config", "set", "rekorSync.syncInterval", "10m")  # which it is
    home.json("key", "generate", "one.example", "--type", "witness")
    vkey = home.json("key", "show", "one.example")["vkey"]
    log = home.json("log", "create", "build", "--origin", "log.example")
    home.json("log", "freeze", "build", "--yes")
    home.json("log", "freeze", "build", "--yes")
    other = home.json("key", "generate", "outside.example")["vkey"]
    home.json("exporters", "add", other, "--dry-run")
    home.json("exporters", "add", other)
    home.json("exporters", "add", other)
    home.json("exporters", "remove", other)
    (tmp_path / "key").write_text(
        home.json("key", "generate", "far.example", "--type", "log")["vkey"]
    )
    add = ("backend", "add", "far", "--origin", "far.example", "--public-key", tmp_path / "key")
    home.json(*add, "--dry-run")
    home.json(*add)
    home.json("backend", "disable", "far")
    home.json("backend", "enable", "far")
    home.json("backend", "remove", "far")
    assert vkey != other
    found = events(home)
    assert [name for name, _ in found] == [
        "config.changed",
        "key.generated",
        "log.created",
        "log.frozen",
        "key.generated",
        "exporter.added",
        "exporter.removed",
        "key.generated",
        "backend.added",
        "backend.disabled",
        "backend.enabled",
        "backend.removed",
    ]
    told = dict(found)
    (change,) = found[0][1]["changes"]
    assert (change["key"], change["new"]) == ("rekorSync.syncInterval", "10m")
    assert told["log.created"]["vkey"] == log["vkey"]
    assert told["exporter.removed"] == {"vkey": other}
    assert home.json("journal", "verify")["lines"] == len(found)


def test_list_shows_the_last_lines_of_an_event(home: Home) -> None:
    for minutes in (6, 7, 8):
        home.json("config", "set", "rekorSync.syncInterval", f"{minutes}m")
        home.json("key", "generate", f"k{minutes}.example")
    lines = home.json("journal", "list", "--last", "2", "--event", "config.changed")["lines"]
    assert [line["id"] for line in lines] == [3, 5]
    code, text, _ = home.run("journal", "list", "--last", "1")
    number, *_, event, _ = text.splitlines()[1].split(maxsplit=4)
    assert (code, number, event) == (0, "6", "key.generated")
    assert home.run("journal", "list", "--last", "0")[0] == 2


def test_long_details_are_cut_for_people_only(home: Home) -> None:
    with home.app.writing() as store, store.atomic():
        append_event(store, 1, "transparency.checkpoint", {"proof": "a" * 2000})
    _, out, _ = home.run("journal", "list")
    assert len(out) < 700 and out.endswith("aaa…\n")
    [line] = home.json("journal", "list")["lines"]
    assert line["details"] == {"proof": "a" * 2000}


def test_a_pinned_root_is_in_the_journal(home: Home, tmp_path: Path) -> None:
    home.json("log", "create", "build", "--origin", "log.example")
    home.json("log", "trusted-root", "--output", tmp_path / "root.json")
    pinned = home.json("trust", "import", tmp_path / "root.json")
    home.json("trust", "import", tmp_path / "root.json")
    found = [details for name, details in events(home) if name == "trust.pinned"]
    assert found == [{"digest": pinned["digest"], "source": str(tmp_path / "root.json")}]


def test_a_rewritten_journal_is_a_clear_3(home: Home) -> None:
    for minutes in (6, 7, 8):
        home.json("config", "set", "rekorSync.syncInterval", f"{minutes}m")
    head = home.json("journal", "verify")["head"]
    assert home.json("journal", "verify", "--head", head)["knownHeadLine"] == 3
    database = sqlite3.connect(home.path / "attestor.db")
    with pytest.raises(sqlite3.IntegrityError, match="only ever appended"):
        database.execute("DELETE FROM journal WHERE id = 2")
    for name in ("journal_is_not_changed", "journal_is_not_deleted"):
        database.execute(f"DROP TRIGGER {name}")
    database.execute("UPDATE journal SET details = replace(details, '7m', '9m') WHERE id = 2")
    database.commit()
    database.close()
    error = home.json("journal", "verify", expect=3)
    assert error["reason"] == "journal-broken"
    assert "line 2: its digest should be" in error["message"]
    assert home.run("doctor")[0] == 3
    assert "line 2: its digest should be" in home.run("store", "check")[2]
    assert home.json("journal", "export", "--output", home.path / "j", expect=3)


def test_an_export_is_verified_without_a_home(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.json("config", "set", "rekorSync.syncInterval", "6m")
    home.json("config", "set", "rekorSync.syncInterval", "7m")
    file = tmp_path / "journal.jsonl"
    exported = home.json("journal", "export", "--output", file)
    nowhere = Home(tmp_path / "other", capsys)
    shutil.rmtree(tmp_path / "other")
    verified = nowhere.json("journal", "verify", file, "--key", exported["vkey"])
    assert (verified["lines"], verified["head"]) == (2, exported["head"])
    assert (verified["signers"], verified["site"]) == ([exported["vkey"]], "site.example")
    code, _, told = nowhere.run("journal", "verify", file)
    assert (code, "who signed the file was not verified" in told) == (0, True)
    first = json.loads(file.read_bytes().split(b"\n")[0])["digest"]
    assert nowhere.json("journal", "verify", file, "--head", first)["knownHeadLine"] == 1
    nowhere.json("journal", "verify", file, "--head", "ab" * 32, expect=3)
    assert nowhere.run("journal", "verify", file, "--head", "ab")[0] == 2
    assert nowhere.run("journal", "verify", "--key", exported["vkey"])[0] == 2
    stranger = home.json("key", "generate", "stranger.example")["vkey"]
    assert nowhere.json("journal", "verify", file, "--key", stranger, expect=3)["reason"] == (
        "unknown-signer"
    )
    file.write_bytes(file.read_bytes().replace(b"7m", b"9m"))
    assert "line 2" in nowhere.json("journal", "verify", file, expect=3)["message"]
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    nowhere.json("journal", "verify", tmp_path / "none", expect=5)


def test_a_journal_opens_only_with_the_key_of_its_own_site(home: Home, tmp_path: Path) -> None:
    """Another site's key signs its own journal, and no one else's."""
    file = tmp_path / "journal.jsonl"
    home.json("journal", "export", "--output", file)
    *lines, last = file.read_bytes().splitlines(keepends=True)
    stranger = SigningKey("stranger.example", b"\x07" * 32)
    note = sign_note(parse_note(json.loads(last)["head"].encode()).text, [stranger])
    head = json.dumps({"head": note.decode()}, separators=(",", ":")).encode() + b"\n"
    file.write_bytes(b"".join([*lines, head]))
    error = home.json("journal", "verify", file, "--key", stranger.verifier.vkey, expect=3)
    assert (error["reason"], "site.example" in error["message"]) == ("foreign-journal", True)


def test_an_export_never_replaces_a_file(home: Home, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    home.json("journal", "export", "--output", tmp_path / "there", expect=6)
    assert (tmp_path / "there").read_text() == "mine"
