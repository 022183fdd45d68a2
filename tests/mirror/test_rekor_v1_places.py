"""Where a tree of a Rekor v1 instance begins, told wrongly by whoever has no key of the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mirror.test_rekor_v1 import HOST, Site
from tests.mirror.test_tree_places import read_place
from tests.rig.v1_shards import V1Instance, v1_instance

TRUE = [(0, ""), (14, ""), (23, "")]


@pytest.fixture
def log() -> Iterator[V1Instance]:
    """Three trees that begin at 0, 14 and 23; one body is in two of them."""
    with v1_instance(HOST) as running:
        running.grow(9)
        running.rotate(grow=5)
        running.rotate(grow=9)
        running.grow(6)
        running.trees[1].bodies[0] = running.trees[0].bodies[5]
        yield running


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    return Site(tmp_path, capsys, log)


def paired(log: V1Instance, number: int, local: int, log_index: int) -> dict[str, Any]:
    """Put the promise of an entry beside the proof of its body in another tree."""
    [promised] = V1Instance.entry(log, log_index).values()  # type: ignore[union-attr]
    [(uuid, proven)] = log.signed_entry(log.trees[number], local, 0).items()
    verification = {
        **promised["verification"],
        "inclusionProof": proven["verification"]["inclusionProof"],
    }
    return {uuid: {**promised, "verification": verification}}


def pairs_entries(log: V1Instance) -> None:
    """Answer for entries of the second tree as who sits in between can."""

    def lie(log_index: int) -> dict[str, Any] | None:
        honest = V1Instance.entry(log, log_index)
        return paired(log, 1, 0, 5) if log_index in range(14, 23) else honest

    log.entry = lie  # type: ignore[method-assign]


def is_honest(log: V1Instance) -> None:
    del log.entry


def keeps(site: Site, *places: int) -> None:
    """Have a home hold what an older version kept."""
    site.sync()
    with sqlite3.connect(site.path / "attestor.db") as database:
        for tree, place in zip((1001, 1002, 1003), places, strict=True):
            database.execute(
                "UPDATE tree_place SET entries_before = ?, said_by = '' WHERE log_id ="
                " (SELECT id FROM log WHERE origin = ?)",
                [place, f"{HOST} - {tree}"],
            )


def test_a_body_in_two_trees_shifts_nothing(site: Site) -> None:
    pairs_entries(site.log)
    for _ in range(2):
        assert f"where {HOST} - 1002 begins could not be compared" in site.said()
        assert read_place(site) == [(0, ""), (23, "")]
    is_honest(site.log)
    assert "begins" not in site.said()
    assert read_place(site) == TRUE


def test_a_second_entry_is_asked_for_where_the_first_says(site: Site) -> None:
    site.sync()
    asked = [path for path in site.log.asked if "logIndex=" in path]
    assert (len(asked), len(set(asked))) == (6, 6)
    assert read_place(site) == TRUE


def test_a_tree_of_one_entry_begins_where_the_sizes_say_or_waits(site: Site) -> None:
    site.log.rotate()
    site.log.active.bodies.append(site.log.trees[0].bodies[5])
    lie = paired(site.log, 3, 0, 5)
    site.log.entry = lambda at: lie if at == 29 else V1Instance.entry(site.log, at)  # type: ignore[method-assign,assignment]
    assert "its only entry says after 5 entries" in site.said()
    assert read_place(site) == TRUE
    is_honest(site.log)
    site.sync()
    assert read_place(site) == [*TRUE, (29, "")]


def test_a_home_that_kept_a_wrong_place_is_healed(site: Site) -> None:
    keeps(site, 0, 5, 23)
    error = site.json("entries", "show", "--log-index", "7", expect=5)
    assert (error["reason"], "1002 has 5 to 13" in error["message"]) == ("ambiguous", True)
    said = site.said()
    assert f"that {HOST} - 1002 begins after 5 entries was kept here and is not so" in said
    assert read_place(site) == TRUE
    assert "begins" not in site.said()


def test_a_wrong_place_beyond_all_trees_is_healed(site: Site) -> None:
    keeps(site, 0, 14, 40)
    assert "was kept here and is not so: the log signed 23" in site.said()
    assert read_place(site) == TRUE


def test_a_wrong_place_that_nobody_shows_again_is_dropped(site: Site) -> None:
    keeps(site, 0, 5, 23)
    pairs_entries(site.log)
    said = site.said()
    assert f"that {HOST} - 1002 begins after 5 entries was kept here and is not so" in said
    assert read_place(site) == [(0, ""), (23, "")]


@pytest.mark.parametrize(
    ("begins", "kept", "said"),
    [(10, [(0, ""), (23, "")], "that is not kept"), (0, [(23, "")], "neither is kept")],
)
def test_what_the_log_signed_within_another_tree_is_not_kept(
    site: Site, begins: int, kept: list[tuple[int, str]], said: str
) -> None:
    """Its key signs it: the accepted size of the tree before it is against it all the same."""
    second = site.log.trees[1]
    site.sync()
    with sqlite3.connect(site.path / "attestor.db") as database:
        database.execute("DELETE FROM tree_place WHERE entries_before = 14")

    def shifted(log_index: int) -> dict[str, Any] | None:
        local = 8 if log_index == 22 else log_index - begins
        return site.log.signed_entry(second, local, begins + local)

    site.log.entry = shifted  # type: ignore[method-assign]
    warned = site.said()
    assert f"{HOST} - 1002 begins after {begins} entries, as the log signed, but {HOST}" in warned
    assert said in warned
    assert read_place(site) == kept
    is_honest(site.log)
    assert "begins" not in site.said()
    assert read_place(site) == TRUE


def test_a_closed_tree_that_grows_puts_no_other_in_doubt(site: Site) -> None:
    site.sync()
    honest = {at: site.log.entry(at) for at in range(29)}
    site.log.entry = honest.get  # type: ignore[method-assign,assignment]
    site.log.grow(2, site.log.trees[0])
    for _ in range(2):
        site.said()
        assert read_place(site) == TRUE
    error = site.json("entries", "show", "--log-index", "15", expect=5)
    assert (error["reason"], f"{HOST} - 1002" in error["message"]) == ("no-proof", True)
