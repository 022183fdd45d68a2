"""checkpoints list, show, verify, prune and add of a Rekor v1 instance: what they say is so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mirror.test_rekor_v1 import HOST, Site
from tests.rig.v1_shards import V1Instance, v1_instance

OLD, NEW = f"{HOST} - 1001", f"{HOST} - 1002"


@pytest.fixture
def log() -> Iterator[V1Instance]:
    with v1_instance(HOST) as running:
        running.grow(5)
        yield running


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    """Two trees: sizes 5, 8, 14 of the closed one, and 2, 9, 12 of the active one."""
    made = Site(tmp_path, capsys, log)
    made.sync()
    for more in (3, 6):
        log.grow(more)
        made.sync()
    log.rotate()
    for more in (2, 7, 3):
        log.grow(more)
        made.sync()
    return made


BACKEND = ("--backend", "sigstore-prod")


def test_a_backend_means_all_trees_of_its_instance(site: Site) -> None:
    listed = site.json("checkpoints", "list", *BACKEND)["checkpoints"]
    assert [(one["origin"], one["treeSize"]) for one in listed] == [
        *((OLD, size) for size in (5, 8, 14)),
        *((NEW, size) for size in (2, 9, 12)),
    ]
    last = site.json("checkpoints", "list", *BACKEND, "--last", "1")["checkpoints"]
    assert [one["treeSize"] for one in last] == [14, 12]
    checked = site.json("checkpoints", "verify", *BACKEND)
    assert (checked["origin"], checked["proven"]) == (NEW, 3)
    [closed] = checked["closedTrees"]
    assert (closed["origin"], closed["proven"], closed["treeSize"]) == (OLD, 3, 14)
    said = site.run("checkpoints", "verify", *BACKEND)[1]
    assert f"{OLD}: 3 notes opened, 3 of 3 checkpoints proven prefixes of 14" in said
    assert f"{NEW}: 3 notes opened, 3 of 3 checkpoints proven prefixes of 12" in said
    assert site.json("checkpoints", "verify", "--origin", OLD)["closedTrees"] == []
    site.now += 10**6
    site.later()
    pruned = site.json("checkpoints", "prune", *BACKEND, "--older-than", "1h")["logs"]
    assert [(one["origin"], one["treeSizes"]) for one in pruned] == [(OLD, [5, 8]), (NEW, [2, 9])]


def test_a_closed_tree_that_was_changed_here_is_named_by_the_backend(site: Site) -> None:
    """Of the tree that the backend stands at alone nothing would be seen."""
    with sqlite3.connect(site.path / "attestor.db") as database:
        database.execute(
            "UPDATE checkpoint SET root_hash = zeroblob(32) WHERE tree_size = 8 AND log_id ="
            " (SELECT id FROM log WHERE origin = ?)",
            [OLD],
        )
    error = site.json("checkpoints", "verify", *BACKEND, expect=6)
    assert f"checkpoint 8 of {OLD}" in error["message"]


def test_a_proof_that_rotted_here_is_fetched_anew_by_the_next_sync(site: Site) -> None:
    with sqlite3.connect(site.path / "attestor.db") as database:
        rotten = database.execute(
            "UPDATE proven_range SET hash = zeroblob(32) WHERE start = 8 AND log_id ="
            " (SELECT id FROM log WHERE origin = ?)",
            [NEW],
        )
        assert rotten.rowcount
    error = site.json("checkpoints", "verify", *BACKEND, expect=6)
    assert "the next 'attestor sync' asks the log for its proof again" in error["next"]
    assert site.alerts() == ["StoreCorrupt"]
    site.sync()
    checked = site.json("checkpoints", "verify", *BACKEND)
    assert (checked["proven"], checked["problems"]) == (3, [])
    site.json("tiles", "verify", *BACKEND)
    assert site.json("alerts", "list", "--lasting")["alerts"] == []


def test_sizes_that_no_proof_leads_to(site: Site) -> None:
    """What is said where nothing is here: the noun is proof, not tile."""
    for command in (
        ("checkpoints", "verify", "--origin", NEW, "--tree-size", "7"),
        ("prove", "--origin", NEW, "--from-size", "7"),
    ):
        error = site.json(*command, expect=5)
        assert (error["reason"], "tile" in error["next"]) == ("no-proof", False)
        assert "no proof that was kept here leads from 7 to 12" in error["message"]
    with sqlite3.connect(site.path / "attestor.db") as database:
        database.execute("DELETE FROM proven_range")
    error = site.json("checkpoints", "verify", *BACKEND, expect=5)
    assert "proofs are missing to prove 2 of 3 checkpoints" in error["message"]
    assert "'attestor sync' asks for the proof again" in error["next"]
    site.sync()
    site.json("checkpoints", "verify", *BACKEND)


def test_a_checkpoint_that_somebody_else_was_shown(site: Site, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.write_text(site.log.note(site.log.active, 7))
    said = site.run("checkpoints", "add", seen)[1]
    assert "not decided, what proves it is missing here; kept" in said
    site.sync()
    assert "proven prefix of our 12 entries" in site.run("checkpoints", "add", seen)[1]
