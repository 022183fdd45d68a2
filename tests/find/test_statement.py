"""Statements of searches: signed, opened by a key, and asked again in another copy of the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.store.home.key_files import load_signing_key
from appliance.tlog.note import sign_note
from tests.cli.homes import Home
from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf
from tests.find.test_search import WHO, filler, find, logged
from tests.simulator import SimulatedLog


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    found = MirroredHome(tmp_path / "home", capsys, "connected")
    logged(found, *filler(2), leaf(WHO), b"anything")
    found.json("index", "build")
    return found


def verified(home: Home, path: Path, *words: str | Path, expect: int = 0) -> Any:
    return home.json("entries", "statement", "verify", path, *words, expect=expect)


def test_a_list_has_a_line_for_each_entry(home: MirroredHome) -> None:
    code, text, _ = home.run("entries", "list", "--identity-exact", WHO)
    assert code == 0 and text.count("\n") == 2
    row = text.splitlines()[1].split()
    assert row[:5] == [home.log.origin, "2", "hashedrekord", "0.0.2", WHO]
    assert home.run("entries", "list", "--identity-exact", "nobody@example.com")[0] == 5


def test_a_statement_says_what_was_found_and_where_it_was_looked_for(
    home: MirroredHome, tmp_path: Path
) -> None:
    note = tmp_path / "found.note"
    find(home, "--identity-exact", WHO, "--statement", note)
    said = verified(home, note, "--rerun")
    assert said["signer"] == "site.example" and said["rerun"]
    text = said["statement"]
    assert text["query"] == {"identityExact": [WHO]} and not text["complete"]
    assert [one["index"] for one in text["hits"]] == [2]
    (log,) = text["coverage"]
    assert (log["origin"], log["treeSize"]) == (home.log.origin, 4)
    assert (log["scanned"], log["gaps"], log["opaque"]) == ([[0, 4]], [], 1)
    assert home.run("entries", "search", "--identity-exact", WHO, "--statement", note)[0] != 0
    logged(home, leaf(WHO, b"later"))
    home.json("index", "build")
    verified(home, note, "--rerun")  # what came after was not spoken of
    verified(home, note, "--rerun", "--rescan")


def test_a_statement_of_nothing_is_written_whatever_it_ends_with(
    home: MirroredHome, tmp_path: Path
) -> None:
    note = tmp_path / "nothing.note"
    find(home, "--identity-exact", "nobody@example.com", "--statement", note, expect=5)
    code, text, _ = home.run("entries", "statement", "verify", note)
    assert code == 0 and "nothing, but not all was looked at" in text


def forged(home: MirroredHome, note: Path, **changes: Any) -> Path:
    """Sign a statement with something else in it, by the site's own key."""
    header, line = note.read_text().split("\n")[:2]
    text = json.loads(line) | changes
    key = load_signing_key(home.path, "site.example")
    file = note.with_suffix(".forged")
    file.write_bytes(sign_note(f"{header}\n{json.dumps(text)}\n", [key]))
    return file


def test_what_is_not_so_in_our_copy_is_code_3(home: MirroredHome, tmp_path: Path) -> None:
    note = tmp_path / "found.note"
    find(home, "--identity-exact", WHO, "--statement", note)
    error = verified(home, forged(home, note, hits=[]), "--rerun", expect=3)
    assert error["reason"] == "statement-differs" and "differ in entries 2" in error["message"]
    (log,) = json.loads(note.read_text().split("\n")[1])["coverage"]
    other = forged(home, note, coverage=[log | {"rootHash": "00" * 32}])
    assert verified(home, other, "--rerun", expect=3)["reason"] == "other-root"
    larger = forged(home, note, coverage=[log | {"treeSize": 99}])
    assert verified(home, larger, "--rerun", expect=5)["reason"] == "search-incomplete"
    elsewhere = forged(home, note, hits=[], coverage=[log | {"origin": "other.example"}])
    assert verified(home, elsewhere, "--rerun", expect=5)["reason"] == "search-incomplete"
    assert verified(home, forged(home, note, hits=7), expect=3)["reason"] == "not-a-statement"


def test_what_was_never_looked_at_is_not_confirmed(home: MirroredHome, tmp_path: Path) -> None:
    note = tmp_path / "found.note"
    find(home, "--identity-exact", WHO, "--statement", note)
    text = json.loads(note.read_text().split("\n")[1])
    (log,), hit = text["coverage"], text["hits"][0]
    invented = forged(home, note, hits=[hit, hit | {"origin": "other.example"}])
    assert verified(home, invented, "--rerun", expect=3)["reason"] == "statement-differs"
    unseen = forged(home, note, coverage=[log | {"scanned": []}])
    assert verified(home, unseen, "--rerun", expect=3)["reason"] == "statement-differs"
    part = [log | {"scanned": [[0, 2]]}]
    verified(home, forged(home, note, hits=[], coverage=part), "--rerun")
    whole = forged(home, note, hits=[], coverage=part, complete=True)
    assert verified(home, whole, "--rerun", expect=3)["reason"] == "statement-differs"
    for nothing in ([], [log | {"scanned": []}]):
        empty = forged(home, note, hits=[], coverage=nothing)
        assert verified(home, empty, "--rerun", expect=5)["reason"] == "search-incomplete"


def test_a_statement_of_what_no_index_has_is_asked_again_by_a_rescan(
    home: MirroredHome, tmp_path: Path
) -> None:
    note = tmp_path / "kind.note"
    find(home, "--kind", "hashedrekord", "--rescan", "--statement", note)
    assert verified(home, note, "--rerun", expect=2)["reason"] == "not-indexed"
    verified(home, note, "--rerun", "--rescan")


def test_each_member_of_a_statement_has_a_type(home: MirroredHome, tmp_path: Path) -> None:
    note = tmp_path / "found.note"
    find(home, "--identity-exact", WHO, "--statement", note)
    text = json.loads(note.read_text().split("\n")[1])
    changes: list[dict[str, Any]] = [
        *({name: 7} for name in ("at", "query", "complete", "vouchedOnly", "hits", "coverage")),
        *({"query": {"identityExact": one}} for one in (WHO, [7], None)),
        {"query": {"oid": ["x"]}},
        *({"hits": [text["hits"][0] | {name: []}]} for name in text["hits"][0]),
        *(
            {"coverage": [text["coverage"][0] | {name: wrong}]}
            for name in ("origin", "treeSize", "rootHash", "basis", "scanned", "gaps")
            for wrong in list[Any]([True, {}, [7]])
            if (name, wrong) != ("gaps", [7])
        ),
        {"coverage": [text["coverage"][0] | {"scanned": [[0, 99]]}]},
    ]
    for one in changes:
        error = verified(home, forged(home, note, **one), "--rerun", expect=3)
        assert error["reason"] == "not-a-statement", one


def test_a_statement_counts_by_the_key_that_is_named(home: MirroredHome, tmp_path: Path) -> None:
    note = tmp_path / "found.note"
    find(home, "--identity-exact", WHO, "--statement", note)
    mine = load_signing_key(home.path, "site.example").verifier.vkey
    verified(home, note, "--key", mine)
    verified(home, note, "--key", SimulatedLog().key.vkey, expect=3)
    raw = note.read_text()
    note.write_text(raw.replace(WHO, "x" * len(WHO)))
    verified(home, note, "--key", mine, expect=3)
