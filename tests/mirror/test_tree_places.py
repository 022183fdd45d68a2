"""An index over all trees of a Rekor v1 instance names an entry offline, outside and inside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.jobs.mirror.tree_places import EXTENSION, take_place
from appliance.store.database import open_store
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.tree_places import TreePlace, tree_place
from appliance.value import replaced
from tests.cli.homes import Home
from tests.mirror.test_rekor_v1 import HOST, Site
from tests.rig.v1_shards import V1Instance, v1_instance
from tests.transfer.test_without_tiles import Inside


@pytest.fixture
def log() -> Iterator[V1Instance]:
    """Three trees that begin at 0, 14 and 23."""
    with v1_instance(HOST) as running:
        running.grow(9)
        running.rotate(grow=5)
        running.rotate(grow=9)
        running.grow(6)
        yield running


@pytest.fixture
def outside(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    return Site(tmp_path, capsys, log)


@pytest.fixture
def inside(tmp_path: Path, capsys: pytest.CaptureFixture[str], outside: Site) -> Inside:
    outside.sync()
    return Inside(tmp_path / "inside", capsys, outside)


def fetch_all(outside: Site) -> None:
    outside.later()
    outside.json("sync", "--backend", "sigstore-prod", "--full-tiles")


PLACES = ((0, 1001, 0), (13, 1001, 13), (14, 1002, 0), (22, 1002, 8), (23, 1003, 0), (28, 1003, 5))


def names_entries(home: Home) -> None:
    for log_index, tree, index in PLACES:
        origin = f"{HOST} - {tree}"
        for options in ((), ("--origin", HOST), ("--origin", f"{HOST} - 1002")):
            shown = home.json("entries", "show", "--log-index", str(log_index), *options)
            assert (shown["origin"], shown["index"]) == (origin, index)
            assert shown["logIndex"] == log_index
        proof = home.json("prove", "--log-index", str(log_index))
        assert (proof["origin"], proof["index"], proof["logIndex"]) == (origin, index, log_index)
        plain = home.json("prove", "--origin", origin, "--index", str(index))
        assert plain == proof
        said = home.run("entries", "show", "--origin", origin, "--index", str(index))[1]
        assert f"log index {log_index} is entry {index} of {origin}" in said


def test_outside(outside: Site, tmp_path: Path) -> None:
    fetch_all(outside)
    asked = len(outside.log.asked)
    names_entries(outside)
    proof = tmp_path / "proof"
    said = outside.run("prove", "--log-index", "15", "--output", proof)[1]
    assert f"log index 15 is entry 1 of {HOST} - 1002" in said
    entry = tmp_path / "entry"
    entry.write_bytes(outside.log.trees[1].bodies[1])
    outside.json("proof", "verify", proof, "--entry", entry)
    assert len(outside.log.asked) == asked, "all of it is offline"


def test_inside_on_the_word_of_the_site_that_exported(inside: Inside, outside: Site) -> None:
    fetch_all(outside)
    inside.carry("a.tar")
    names_entries(inside)
    [site] = {one["name"] for one in inside.json("exporters", "list")["exporters"]}
    shown = inside.json("entries", "show", "--log-index", "15")
    assert shown["treeBeginsSays"] == site
    said = inside.run("entries", "show", "--log-index", "15")[1]
    assert f"log index 15 is entry 1 of {HOST} - 1002 (where the tree begins, {site} says)" in said


def test_a_claim_never_replaces_what_the_log_signed(inside: Inside, outside: Site) -> None:
    """A home that syncs takes a transfer bundle of a site that says otherwise."""
    fetch_all(outside)
    [key] = outside.json("key", "list")["keys"]
    outside.json("exporters", "add", key["vkey"])
    said_otherwise(outside, inside.path.parent / "wrong.tar", signed=23, claimed=24)
    file = inside.path.parent / "wrong.tar"
    code, out, err = outside.run("import", file)
    assert (code, "begins after 24 entries, the log said after 23" in err) == (0, True), out + err
    assert read_place(outside) == [(0, ""), (14, ""), (23, "")]
    inside.take(file)
    inside.carry("right.tar", "--base", "all")  # the same site says otherwise by now
    assert inside.json("entries", "show", "--log-index", "24")["index"] == 1


def said_otherwise(outside: Site, file: Path, *, signed: int, claimed: int) -> None:
    """Export with a wrong claim of where a tree begins."""
    change = "UPDATE tree_place SET entries_before = ? WHERE entries_before = ?"
    with sqlite3.connect(outside.path / "attestor.db") as database:
        database.execute(change, [claimed, signed])
    outside.later()
    outside.json("export", "--backend", "sigstore-prod", "--base", "all", "--output", file)
    with sqlite3.connect(outside.path / "attestor.db") as database:
        database.execute(change, [signed, claimed])


def test_what_is_in_no_tree_that_is_known(outside: Site, inside: Inside) -> None:
    error = outside.json("entries", "show", "--log-index", "29", expect=5)
    known = "1001 has 0 to 13; rekor.sigstore.dev - 1002 has 14 to 22"
    assert (error["reason"], known in error["message"]) == ("not-covered", True)
    assert "--log-index 29" in error["next"]
    error = outside.json("prove", "--log-index", "3", expect=5)
    assert (error["reason"], "--from 3 --count 1" in error["next"]) == ("no-proof", True)
    error = inside.json("entries", "show", "--log-index", "3", expect=5)
    assert "no Rekor v1 instance is known here" in error["message"], "nothing was imported yet"
    with sqlite3.connect(outside.path / "attestor.db") as older:
        older.execute("DELETE FROM tree_place WHERE entries_before = 14")
    error = outside.json("entries", "show", "--log-index", "15", expect=5)
    assert f"where {HOST} - 1002 begins is not known here" in error["message"]
    error = outside.json("entries", "show", "--log-index", "3", "--origin", "x.example", expect=5)
    assert (error["reason"], "--index N" in error["next"]) == ("unknown-log", True)


def test_two_instances_are_told_apart(
    outside: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_all(outside)
    with v1_instance("rekor.internal.example", first_tree=5) as other:
        other.grow(3)
        (tmp_path / "other.pub").write_bytes(other.public_key)
        outside.json(
            *("backend", "add", "ours", "--origin", other.host, "--url", other.url),
            *("--public-key", tmp_path / "other.pub"),
        )
        outside.later()
        outside.json("sync", "--backend", "ours", "--full-tiles")
        error = outside.json("entries", "show", "--log-index", "2", expect=2)
        assert (error["reason"], HOST in error["next"]) == ("ambiguous", True)
        shown = outside.json("entries", "show", "--log-index", "2", "--origin", other.host)
        assert shown["origin"] == other.origin()


def test_no_instance_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path / "home", capsys)
    assert home.json("entries", "show", "--log-index", "2", expect=5)["reason"] == "unknown-log"


def test_entries_are_listed_by_their_indices_over_all_trees(outside: Site) -> None:
    fetch_all(outside)
    found = outside.json("entries", "list", "--log-index", "12", "--count", "4")
    places = [(one["logIndex"], one["origin"][-4:], one["index"]) for one in found["hits"]]
    assert places == [(12, "1001", 12), (13, "1001", 13), (14, "1002", 0), (15, "1002", 1)]
    assert found["complete"] is True
    code, out, err = outside.run("entries", "list", "--log-index", "27", "--count", "4")
    assert (code, out.count(f"{HOST} - 1003")) == (5, 2), out + err
    assert "2 of the 4 entries are not here, log index 29 is the first" in err


@pytest.mark.parametrize(
    "command",
    [
        ("entries", "show"),
        ("entries", "show", "--log-index", "1", "--index", "1"),
        ("entries", "show", "--index", "1"),
        ("prove", "--index", "1"),
        ("prove", "--log-index", "1", "--from-size", "1"),
        ("entries", "list"),
        ("entries", "list", "--count", "2"),
        ("entries", "list", "--log-index", "1", "--kind", "dsse"),
        ("entries", "list", "--log-index", "1", "--origin", "a", "--origin", "b"),
    ],
)
def test_options_that_name_no_entry(outside: Site, command: tuple[str, ...]) -> None:
    outside.json(*command, expect=2)


def read_place(site: Site) -> Any:
    with sqlite3.connect(site.path / "attestor.db") as database:
        return database.execute(
            "SELECT entries_before, said_by FROM tree_place ORDER BY 1"
        ).fetchall()


def test_each_tree_is_asked_for_once(outside: Site) -> None:
    outside.sync()
    assert read_place(outside) == [(0, ""), (14, ""), (23, "")]
    asked = len(outside.log.asked)
    outside.log.grow(1)
    outside.sync()
    assert not [path for path in outside.log.asked[asked:] if "logIndex=" in path]


def test_an_empty_tree_is_asked_for_once_it_has_an_entry(outside: Site) -> None:
    outside.log.rotate()
    outside.sync()
    assert len(read_place(outside)) == 3
    outside.log.grow(1)
    outside.sync()
    assert read_place(outside)[-1] == (29, "")


def test_a_home_of_the_version_before_learns_it_with_its_next_sync(outside: Site) -> None:
    outside.sync()
    with sqlite3.connect(outside.path / "attestor.db") as database:
        database.execute("DROP TABLE tree_place")
        database.execute("DELETE FROM _sqlite_migrations WHERE name = '047_tree_place'")
    outside.json("init")
    assert read_place(outside) == []
    outside.sync()
    assert read_place(outside) == [(0, ""), (14, ""), (23, "")]


@pytest.mark.parametrize(
    "said", [None, [], "x", {}, {"ORIGIN": None}, {"ORIGIN": -1}, {"ORIGIN": True}, {"ORIGIN": "1"}]
)
def test_what_a_manifest_may_say_besides_is_no_place(outside: Site, said: Any) -> None:
    outside.sync()
    store = open_store(outside.path, write=True)
    log = require_log(store, f"{HOST} - 1002")
    with store.atomic():
        store.execute("DELETE FROM tree_place")
    if isinstance(said, dict):
        said = dict.fromkeys([log.origin] * len(said), next(iter(said.values()), None))
    assert take_place(store, log, {EXTENSION: said}, "site.example") == ()
    assert tree_place(store, log) is None
    assert take_place(store, log, {EXTENSION: {log.origin: 7}}, "site.example") == ()
    assert take_place(store, replaced(log, api_version=2), {EXTENSION: {log.origin: 8}}, "b") == ()
    assert tree_place(store, log) == TreePlace(7, "site.example")
    [told] = take_place(store, log, {EXTENSION: {log.origin: 9}}, "other.example")
    assert "after 9 entries, site.example said after 7" in told
    store.close()
