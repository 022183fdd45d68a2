"""Stored checkpoints proven again: damage here and a lying log are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest

from appliance.errors import (
    ApplianceError,
    DivergenceError,
    IncompleteError,
    SignatureError,
    StoreError,
)
from appliance.jobs.mirror.compare_heads import recheck_chain, recheck_root
from appliance.store.divergence.evidence import evidence_of
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import cached_tiles, forget
from appliance.tlog.note import SigningKey
from appliance.tlog.tile import Tile
from tests.mirror.mirrors import NOW, make_mirror, sync_from
from tests.private_log.private_homes import home_in_memory
from tests.simulator import SimulatedLog

SIZES = [1, 5, 256, 300, 511, 512, 900]


@pytest.fixture
def log() -> SimulatedLog:
    return SimulatedLog()


@pytest.fixture
def mirror(log: SimulatedLog) -> Iterator[Mirror]:
    """A mirror that followed a growing log."""
    with home_in_memory() as home:
        made = make_mirror(home, log)
        for size in SIZES:
            log.grow(size - log.tree_size)
            sync_from(made, log)
        yield made
        made.store.close()


def damage(mirror: Mirror, place: Tile, data: bytes | None) -> None:
    """Give a tile's row other bytes with their own right digest, or flip one of its bytes."""
    [one] = [one for one in cached_tiles(mirror.store, mirror.log) if one.place == place]
    path = mirror.store.blobs.path(one.digest)
    if data is None:
        raw = bytearray(path.read_bytes())
        raw[0] ^= 1
        path.write_bytes(raw)
        return
    [digest] = mirror.store.blobs.put([data])
    with mirror.store.atomic():
        mirror.store.execute(
            "UPDATE tile SET digest = ? WHERE level = ? AND tile_index = ?",
            [digest, place.level, place.index],
        )


def replace_checkpoint(mirror: Mirror, size: int, note: bytes, root: bytes) -> None:
    """Rewrite history, as nobody but the owner of the database can."""
    with mirror.store.atomic():
        mirror.store.execute(
            "UPDATE checkpoint_note SET note = ?, digest = ? WHERE tree_size = ?",
            [note, sha256(note).digest(), size],
        )
        mirror.store.execute(
            "UPDATE checkpoint SET root_hash = ? WHERE tree_size = ?", [root, size]
        )


def only_problem(mirror: Mirror) -> ApplianceError:
    report = recheck_chain(mirror, NOW)
    [problem] = report.problems
    assert report.proven == len(SIZES) - 1
    return problem


def test_every_checkpoint_of_an_honest_log_is_proven_again(
    mirror: Mirror, log: SimulatedLog
) -> None:
    report = recheck_chain(mirror, NOW)
    assert (report.newest, report.checkpoints, report.notes) == (log.head, 7, 7)
    assert (report.proven, report.unproven, report.problems) == (7, (), ())


def test_the_root_at_every_size_is_recomputed_from_leaves(
    mirror: Mirror, log: SimulatedLog
) -> None:
    for size in (0, 1, 2, 255, 256, 257, 512, 700, 900):
        report = recheck_root(mirror, size, NOW)
        assert report.head == log.head_at(size)
        assert report.signed is (size in SIZES)


def test_nothing_stored_or_a_size_beyond_it_cannot_be_said(mirror: Mirror) -> None:
    with pytest.raises(IncompleteError) as caught:
        recheck_root(mirror, 901, NOW)
    assert caught.value.reason == "not-covered"
    with home_in_memory() as home:
        empty = make_mirror(home, SimulatedLog())
        for call in (lambda: recheck_chain(empty, NOW), lambda: recheck_root(empty, 0, NOW)):
            with pytest.raises(IncompleteError) as none:
                call()
            assert none.value.reason == "no-checkpoint"
        empty.store.close()


def test_missing_tiles_leave_checkpoints_unproven_not_wrong(mirror: Mirror) -> None:
    forget(mirror, [Tile(0, 1)])
    report = recheck_chain(mirror, NOW)
    assert (report.unproven, report.problems) == ((300, 511), ())
    with pytest.raises(IncompleteError, match="tile/0/001"):
        recheck_root(mirror, 300, NOW)


def test_a_rotten_tile_is_damage_here_and_no_evidence(mirror: Mirror) -> None:
    damage(mirror, Tile(0, 1), None)
    report = recheck_chain(mirror, NOW)
    assert {one.reason for one in report.problems} == {"corrupt"}
    assert len(report.problems) == 2  # 300 and 511
    with pytest.raises(StoreError) as caught:
        recheck_root(mirror, 900, NOW)
    assert caught.value.reason == "corrupt"
    assert evidence_of(mirror.store, mirror.log) == ()


@pytest.mark.parametrize("place", [Tile(0, 1), Tile(1, 0, 3), Tile(0, 3, 132)])
def test_a_tile_of_another_tree_is_damage_here_and_no_evidence(
    mirror: Mirror, log: SimulatedLog, place: Tile
) -> None:
    damage(mirror, place, dict(log.fork(at=0).tiles([place]))[place])
    report = recheck_chain(mirror, NOW)
    assert report.problems and {one.reason for one in report.problems} == {"corrupt"}
    with pytest.raises(StoreError):
        recheck_root(mirror, 300, NOW)
    assert evidence_of(mirror.store, mirror.log) == ()


def test_a_log_that_signed_two_trees_is_caught_with_both_notes(
    mirror: Mirror, log: SimulatedLog
) -> None:
    twin = log.fork(at=2)
    replace_checkpoint(mirror, 300, twin.checkpoint_at(300), twin.head_at(300).root_hash)
    problem = only_problem(mirror)
    assert isinstance(problem, DivergenceError)
    [row] = mirror.store.rows("SELECT * FROM evidence")
    assert problem.evidence_id == row["id"]
    assert (row["ours"], row["theirs"]) == (log.checkpoint(), twin.checkpoint_at(300))
    with pytest.raises(DivergenceError) as caught:
        recheck_root(mirror, 300, NOW)
    assert caught.value.evidence_id == row["id"]  # the same pair is one item


def test_a_note_by_a_key_that_is_not_pinned_is_a_no(mirror: Mirror, log: SimulatedLog) -> None:
    stranger = SimulatedLog()
    stranger.signer = SigningKey(log.origin, bytes(32))
    stranger.grow(log.entries)
    replace_checkpoint(mirror, 300, stranger.checkpoint_at(300), log.head_at(300).root_hash)
    assert isinstance(only_problem(mirror), SignatureError)


def test_a_row_that_says_something_else_than_its_note_is_damage(
    mirror: Mirror, log: SimulatedLog
) -> None:
    replace_checkpoint(mirror, 300, log.checkpoint_at(300), bytes(32))
    problem = only_problem(mirror)
    assert (problem.reason, "its row says" in problem.message) == ("corrupt", True)
