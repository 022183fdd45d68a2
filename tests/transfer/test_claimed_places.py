"""An exporter says of several trees that they begin where they cannot: none of it is used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.jobs.transfer import manifest
from tests.mirror.test_rekor_v1 import HOST, Site
from tests.rig.v1_shards import V1Instance, v1_instance
from tests.transfer.test_without_tiles import Inside


@pytest.fixture
def log() -> Iterator[V1Instance]:
    """Three trees that begin at 0, 9 and 14."""
    with v1_instance(HOST) as running:
        running.grow(4)
        running.rotate(grow=5)
        running.rotate(grow=5)
        running.grow(3)
        yield running


@pytest.fixture
def outside(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    return Site(tmp_path, capsys, log)


@pytest.fixture
def inside(tmp_path: Path, capsys: pytest.CaptureFixture[str], outside: Site) -> Inside:
    outside.sync()
    return Inside(tmp_path / "inside", capsys, outside)


def claims(monkeypatch: pytest.MonkeyPatch, *places: int) -> None:
    said = {f"{HOST} - {tree}": at for tree, at in zip((1001, 1002, 1003), places, strict=True)}
    monkeypatch.setattr(manifest, "places_data", lambda *_: {"x-entries-before": said})


@pytest.mark.parametrize(
    ("places", "ambiguous", "known"),
    [((0, 0, 0), (0, 2, 8), ()), ((0, 5, 14), (0, 7, 9), (14,)), ((9, 9, 0), (9, 12), ())],
    ids=["all at one", "within another", "two at one"],
)
def test_claims_that_cannot_be_so_together(
    inside: Inside,
    outside: Site,
    monkeypatch: pytest.MonkeyPatch,
    places: tuple[int, ...],
    ambiguous: tuple[int, ...],
    known: tuple[int, ...],
) -> None:
    claims(monkeypatch, *places)
    outside.later()
    file = inside.path.parent / "a.tar"
    outside.json("export", "--backend", "sigstore-prod", "--output", file)
    inside.take(file)
    err = inside.run("import", file)[2]
    assert "both cannot be, and no such claim is used" in err
    for index in ambiguous:
        error = inside.json("entries", "show", "--log-index", str(index), expect=5)
        assert (error["reason"], "index is in a single tree" in error["message"]) == (
            "ambiguous",
            True,
        )
    for index in known:
        error = inside.json("entries", "show", "--log-index", str(index), expect=5)
        assert error["reason"] != "ambiguous"
    monkeypatch.undo()
    outside.json("sync", "--backend", "sigstore-prod", "--full-tiles")
    inside.carry("b.tar", "--base", "all")
    shown = inside.json("entries", "show", "--log-index", "9")
    assert (shown["origin"], shown["index"]) == (f"{HOST} - 1002", 0), "told rightly by now"
    assert inside.run("import", inside.path.parent / "b.tar")[2].count("cannot be") == 0


def test_a_claim_within_what_the_log_signed_is_not_used(
    outside: Site, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that syncs: its own tree stays, the tree that was claimed has no place."""
    with sqlite3.connect(outside.path / "attestor.db") as database:
        database.execute("DELETE FROM tree_place WHERE entries_before = 9")
    [key] = outside.json("key", "list")["keys"]
    outside.json("exporters", "add", key["vkey"])
    claims(monkeypatch, 0, 5, 14)
    outside.later()
    file = inside.path.parent / "a.tar"
    outside.json("export", "--backend", "sigstore-prod", "--base", "all", "--output", file)
    err = outside.run("import", file)[2]
    assert f"the log says that {HOST} - 1001 begins after 0 entries" in err
    error = outside.json("entries", "show", "--log-index", "7", expect=5)
    assert f"{HOST} - 1001" in error["message"], "the log signed that, and nothing speaks against"
    assert error["reason"] != "ambiguous"
    outside.sync()
    with sqlite3.connect(outside.path / "attestor.db") as database:
        rows = database.execute("SELECT entries_before, said_by FROM tree_place ORDER BY 1")
        assert rows.fetchall() == [(0, ""), (9, ""), (14, "")]
