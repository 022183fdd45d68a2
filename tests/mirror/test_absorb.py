"""Absorbing checkpoints: every relation, every lie, every interruption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from appliance.errors import (
    ApplianceError,
    DivergenceError,
    IncompleteError,
    MalformedError,
    ProofError,
    RefusedError,
    RemoteError,
    SignatureError,
)
from appliance.jobs.mirror.audit import audit
from appliance.jobs.mirror.fill import Wanted
from appliance.policy.relate import Relation
from appliance.store.mirror.logs import put_policy, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.cosignature import cosigner_key
from appliance.tlog.note import SigningKey
from appliance.tlog.tile import EntryBundle, Tile, new_entry_bundles, tiles_of
from tests.mirror.mirrors import NOW, make_mirror, stored_state, sync_from
from tests.simulator import SimulatedLog


def grown(n_entries: int) -> SimulatedLog:
    log = SimulatedLog()
    log.grow(n_entries)
    return log


def test_the_first_checkpoint_is_taken_and_its_tree_stored_whole(tmp_path: Path) -> None:
    log = grown(600)
    mirror = make_mirror(tmp_path / "home", log)
    report = sync_from(mirror, log)
    assert (report.relation, report.accepted_size, report.mirror_size) == (Relation.FIRST, 600, 600)
    assert report.complete
    assert list(mirror.missing_tiles(600)) == []
    for tile in tiles_of(600):
        assert mirror.read_tiles([tile])[tile] == dict(log.tiles([tile]))[tile]
    for bundle in new_entry_bundles(0, 600):
        assert mirror.read_entry_bundle(bundle) == dict(log.entry_bundles([bundle]))[bundle]


def test_an_empty_log_is_mirrored_and_then_grows(tmp_path: Path) -> None:
    log = SimulatedLog()
    mirror = make_mirror(tmp_path / "home", log)
    assert sync_from(mirror, log).mirror_size == 0
    log.grow(3)
    report = sync_from(mirror, log)
    assert (report.relation, report.mirror_size) == (Relation.AHEAD, 3)


def test_every_growth_between_small_sizes_is_proven_and_covered(tmp_path: Path) -> None:
    sizes = [1, 2, 3, 7, 8, 9, 255, 256, 257, 300, 511, 512, 513, 1000]
    log = SimulatedLog()
    mirror = make_mirror(tmp_path / "home", log)
    for size in sizes:
        log.grow(size - log.head.tree_size)
        report = sync_from(mirror, log)
        assert report.mirror_size == size
        assert audit(mirror, full=False).head == log.head
    assert mirror.history.accepted_sizes() == sizes
    assert audit(mirror, full=True).head == log.head


def test_nothing_new_is_the_same_and_asks_only_for_the_checkpoint(tmp_path: Path) -> None:
    log = grown(300)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    asked = len(log.requests)
    before = stored_state(mirror.store)
    report = sync_from(mirror, log)
    assert (report.relation, report.tiles, report.entry_bundles) == (Relation.SAME, 0, 0)
    assert log.requests[asked:] == ["checkpoint"]
    assert stored_state(mirror.store) == before


def test_a_limited_sync_accepts_at_once_and_covers_over_several_runs(tmp_path: Path) -> None:
    log = grown(2000)
    mirror = make_mirror(tmp_path / "home", log)
    two = Wanted(limit=2)
    first = sync_from(mirror, log, two)
    assert (first.accepted_size, first.mirror_size, first.complete) == (2000, None, False)
    runs = 1
    while not sync_from(mirror, log, two).complete:
        runs += 1
        assert runs < 20
    checkpoint = mirror.history.mirror_checkpoint()
    assert checkpoint is not None and checkpoint.head == log.head


def test_the_mirror_checkpoint_is_the_largest_covered_size(tmp_path: Path) -> None:
    log = grown(300)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    log.grow(5000)
    report = sync_from(mirror, log, Wanted(limit=0))
    assert (report.accepted_size, report.mirror_size) == (5300, 300)
    assert sync_from(mirror, log).mirror_size == 5300


def test_a_checkpoint_only_sync_stores_the_edge_and_the_proof(tmp_path: Path) -> None:
    log = grown(70000)
    mirror = make_mirror(tmp_path / "home", log)
    report = sync_from(mirror, log, Wanted(tiles=False))
    assert (report.accepted_size, report.mirror_size, report.tiles) == (70000, None, 3)
    log.grow(5000)
    report = sync_from(mirror, log, Wanted(tiles=False))
    assert report.relation is Relation.AHEAD
    assert report.tiles < 10


@pytest.mark.parametrize("size", [*range(1, 71), 255, 256, 257, 258, 511, 512, 513])
def test_a_fork_at_any_earlier_leaf_is_never_stored(tmp_path: Path, size: int) -> None:
    log = grown(size)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    before = stored_state(mirror.store)
    leaves = range(size) if size < 71 else (0, 1, 254, size // 2, size - 1)
    for leaf in leaves:
        twin = log.fork(at=leaf)
        growth = (0, 1, 300)[leaf % 3]
        if growth:
            twin.grow(growth)
        with pytest.raises(DivergenceError) as caught:
            sync_from(mirror, twin)
        assert caught.value.reason == ("fork" if growth else "root-mismatch")
        assert caught.value.evidence_id is not None
        assert stored_state(mirror.store) == before


def test_the_same_fork_seen_twice_is_one_piece_of_evidence(tmp_path: Path) -> None:
    log = grown(100)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    twin = log.fork(at=50)
    ids = []
    for _ in range(2):
        with pytest.raises(DivergenceError) as caught:
            sync_from(mirror, twin)
        ids.append(caught.value.evidence_id)
    assert ids[0] == ids[1]
    row = mirror.store.rows("SELECT ours, theirs FROM evidence")[0]
    assert (row["ours"], row["theirs"]) == (log.checkpoint(), twin.checkpoint())


def test_a_stale_replica_is_a_proven_prefix_and_moves_nothing(tmp_path: Path) -> None:
    log = grown(400)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    for size in (0, 1, 255, 256, 399):
        log.roll_back(to=size)
        report = sync_from(mirror, log)
        assert (report.relation, report.tree_size) == (Relation.BEHIND, size)
        assert (report.accepted_size, report.mirror_size) == (400, 400)


def test_a_smaller_tree_that_is_no_prefix_is_a_rollback(tmp_path: Path) -> None:
    log = grown(400)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    twin = log.fork(at=100)
    twin.roll_back(to=300)
    with pytest.raises(DivergenceError) as caught:
        sync_from(mirror, twin)
    assert caught.value.reason == "rollback"
    assert [row["rule"] for row in mirror.store.rows("SELECT rule FROM evidence")] == [
        "TreeSizeRollback"
    ]


def test_an_older_head_without_local_tiles_is_shown_from_the_source_or_not_placed(
    tmp_path: Path,
) -> None:
    log = grown(70000)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log, Wanted(tiles=False))
    log.roll_back(to=3000)
    assert sync_from(mirror, log, Wanted(tiles=False)).relation is Relation.BEHIND
    log.roll_back(to=2999)
    log.lose(Tile(0, 11))
    # Nothing can place it: that proves nothing against the log.
    with pytest.raises(IncompleteError) as caught:
        sync_from(mirror, log, Wanted(tiles=False))
    assert caught.value.reason == "not-placed"
    assert mirror.store.rows("SELECT * FROM evidence") == []


@pytest.mark.parametrize("tile", [Tile(1, 0, 2), Tile(0, 0), Tile(0, 1), Tile(0, 2, 88)])
def test_a_wrong_tile_is_refused_and_not_stored(tmp_path: Path, tile: Tile) -> None:
    log = grown(600)
    mirror = make_mirror(tmp_path / "home", log)
    log.lie(tile)
    with pytest.raises(ProofError):
        sync_from(mirror, log)
    honest = SimulatedLog()
    honest.grow(600)
    for row in mirror.store.rows("SELECT level, tile_index, width FROM tile"):
        stored = Tile(*row)
        assert mirror.read_tiles([stored])[stored] == dict(honest.tiles([stored]))[stored]
    log.tell_the_truth()
    assert sync_from(mirror, log).mirror_size == 600


def test_a_wrong_entry_bundle_is_refused_and_not_stored(tmp_path: Path) -> None:
    log = grown(600)
    mirror = make_mirror(tmp_path / "home", log)
    for lie in (None, b"junk", b"\x00\x01"):
        log.lie(EntryBundle(1)) if lie is None else log.lie(EntryBundle(1), lie)
        with pytest.raises((ProofError, MalformedError)):
            sync_from(mirror, log)
        log.tell_the_truth()
    assert mirror.store.rows("SELECT * FROM entry_bundle") == []
    assert sync_from(mirror, log).entry_bundles == 3


def test_a_checkpoint_by_another_key_or_for_another_origin_is_refused(tmp_path: Path) -> None:
    log = grown(10)
    mirror = make_mirror(tmp_path / "home", log)
    for stranger in (SimulatedLog(origin="other.example"),):
        stranger.grow(10)
        with pytest.raises(SignatureError):
            sync_from(mirror, stranger)
    assert mirror.history.accepted() is None


def test_a_sync_interrupted_at_any_request_is_completed_by_the_next(tmp_path: Path) -> None:
    log = grown(900)
    total = 0
    for request in range(1, 40):
        mirror = make_mirror(tmp_path / f"home{request}", log)
        log.fail_on(request)
        try:
            sync_from(mirror, log)
        except RemoteError:
            total += 1
        else:
            break
        report = sync_from(mirror, log)
        assert (report.mirror_size, report.complete) == (900, True)
        assert audit(mirror, full=True).entry_bundles == 4
        mirror.store.close()
    assert total > 5


def test_a_frozen_checkpoint_is_the_same_tree_with_one_more_note(tmp_path: Path) -> None:
    log = grown(20)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    log.freeze()
    assert sync_from(mirror, log, now=NOW + 60).relation is Relation.SAME
    assert len(mirror.history.notes(20)) == 2


def test_a_replacement_of_a_partial_tile_keeps_older_sizes_readable(tmp_path: Path) -> None:
    log = grown(300)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    log.grow(500)
    sync_from(mirror, log)
    narrow = Tile(0, 1, 44)
    assert (
        mirror.read_tiles([narrow])[narrow] == dict(log.tiles([Tile(0, 1)]))[Tile(0, 1)][: 44 * 32]
    )
    assert mirror.covers(300)


class Generous(SimulatedLog):
    """A source that sends a tile nobody asked for along with the others."""

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        yield from super().tiles(wanted)
        if wanted:
            yield Tile(0, 77), bytes(8192)


def test_a_tile_that_nobody_asked_for_is_never_stored(tmp_path: Path) -> None:
    log = Generous()
    log.grow(600)
    mirror = make_mirror(tmp_path / "home", log)
    with pytest.raises(MalformedError):
        sync_from(mirror, log)
    assert mirror.store.rows("SELECT * FROM tile") == []


def test_every_failure_is_one_of_ours(tmp_path: Path) -> None:
    log = grown(600)
    for number, tile in enumerate(tiles_of(600)):
        mirror = make_mirror(tmp_path / f"home{number}", log)
        log.truncate(tile, n_bytes=31)
        with pytest.raises(ApplianceError):
            sync_from(mirror, log)
        log.tell_the_truth()


def test_a_lost_right_edge_is_brought_back_even_by_a_limited_sync(tmp_path: Path) -> None:
    log = grown(1000)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    with mirror.store.atomic():
        mirror.store.execute("DELETE FROM tile")
        mirror.settle()
    for _ in range(4):
        sync_from(mirror, log, Wanted(limit=1))
    assert sync_from(mirror, log).mirror_size == 1000
    assert audit(mirror, full=True).head == log.head


def test_a_checkpoint_without_the_witnesses_of_the_logs_policy_is_refused(tmp_path: Path) -> None:
    log = grown(10)
    mirror = make_mirror(tmp_path / "home", log)
    witness = cosigner_key(SigningKey("witness.example", bytes(range(32))))
    policy = f"witness w {witness.vkey}\nquorum w\n".encode()
    with mirror.store.atomic():
        put_policy(mirror.store, mirror.log, policy)
    strict = Mirror(mirror.store, require_log(mirror.store, log.origin))
    with pytest.raises(RefusedError):
        sync_from(strict, log)
    assert strict.history.accepted() is None
