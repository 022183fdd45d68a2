"""The mirror: what a row promises, at any instant, whatever fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import IncompleteError, StoreError
from appliance.jobs.home.sweep import sweep
from appliance.store.database import Store, create_store, open_store
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import add_log, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.sync_times import last_sync
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.tile import EntryBundle, Tile, new_entry_bundles, new_tiles, tiles_of
from appliance.tlog.tile_tree import TileTree
from tests.jobs.faults import Faults, PowerCutError, injected
from tests.simulator import SimulatedLog

NOW = 1_760_000_000
DIRECT = Arrival("direct", "https://log.example/", NOW)


def signed(log: SimulatedLog, tree_size: int | None = None) -> SignedCheckpoint:
    size = log.tree_size if tree_size is None else tree_size
    return open_checkpoint(log.checkpoint_at(size), [log.key], log.origin)


def tiles_between(log: SimulatedLog, old: int, new: int) -> dict[Tile, bytes]:
    return dict(log.tiles(list(new_tiles(old, new))))


def bundles_between(log: SimulatedLog, old: int, new: int) -> dict[EntryBundle, bytes]:
    return dict(log.entry_bundles(list(new_entry_bundles(old, new))))


def mirror_of(store: Store, log: SimulatedLog) -> Mirror:
    with store.atomic():
        return Mirror(store, add_log(store, log.origin, 2, log.key.spki))


@pytest.fixture
def log() -> SimulatedLog:
    made = SimulatedLog()
    made.grow(600)
    return made


@pytest.fixture
def mirror(store: Store, log: SimulatedLog) -> Mirror:
    """A mirror of the first 300 of 600 entries."""
    made = mirror_of(store, log)
    made.accept(signed(log, 300), DIRECT, tiles_between(log, 0, 300), bundles_between(log, 0, 300))
    return made


def size_of_mirror(mirror: Mirror) -> int | None:
    found = mirror.history.mirror_checkpoint()
    return None if found is None else found.head.tree_size


def verify_whole(mirror: Mirror, log: SimulatedLog) -> None:
    """Check the invariants: rows name blobs that authenticate, coverage is what is said."""
    accepted = mirror.history.accepted()
    covered = size_of_mirror(mirror)
    if accepted is None:
        assert covered is None
        return
    assert accepted.head == log.head_at(accepted.head.tree_size)
    if covered is not None:
        tree = TileTree(log.head_at(covered))
        tree.load(tiles_of(covered), mirror.read_tiles)
        assert list(mirror.missing_tiles(covered)) == []
    for table in ("tile", "entry_bundle"):
        for row in mirror.store.rows(f"SELECT digest FROM {table}"):  # noqa: S608 fixed names
            mirror.store.blobs.get(row["digest"])


def test_what_was_accepted_is_read_back(mirror: Mirror, log: SimulatedLog) -> None:
    assert size_of_mirror(mirror) == 300
    for tile in tiles_of(300):
        assert mirror.read_tiles([tile])[tile] == dict(log.tiles([tile]))[tile]
    for bundle in new_entry_bundles(0, 300):
        assert mirror.read_entry_bundle(bundle) == dict(log.entry_bundles([bundle]))[bundle]
    verify_whole(mirror, log)


def test_a_wider_tile_replaces_a_narrower_and_still_gives_it(
    mirror: Mirror, log: SimulatedLog
) -> None:
    mirror.accept(signed(log), DIRECT, tiles_between(log, 300, 600), bundles_between(log, 300, 600))
    assert size_of_mirror(mirror) == 600
    for size in (300, 511, 512, 513):
        for tile in tiles_of(size):
            assert mirror.read_tiles([tile])[tile] == dict(log.tiles([tile]))[tile]
        for bundle in new_entry_bundles(0, size):
            assert mirror.read_entry_bundle(bundle) == dict(log.entry_bundles([bundle]))[bundle]
    assert mirror.tile_digest(Tile(0, 1, 44)) is None
    assert mirror.entry_bundle_blob(EntryBundle(1, 44)) is None
    assert mirror.tile_digest(Tile(0, 1)) is not None


def test_a_narrower_tile_never_replaces_a_wider_one(mirror: Mirror, log: SimulatedLog) -> None:
    mirror.add(dict(log.tiles([Tile(0, 1, 10)])), dict(log.entry_bundles([EntryBundle(1, 10)])))
    assert mirror.read_tiles([Tile(0, 1, 44)])
    assert mirror.read_entry_bundle(EntryBundle(1, 44))
    assert size_of_mirror(mirror) == 300


def test_what_is_not_here_is_named(mirror: Mirror) -> None:
    with pytest.raises(IncompleteError, match="tile/0/001"):
        mirror.read_tiles([Tile(0, 1)])
    with pytest.raises(IncompleteError, match=r"tile/0/001\.p/45"):
        mirror.tile_digest(Tile(0, 1, 45))
    with pytest.raises(IncompleteError, match="tile/entries/007") as caught:
        mirror.read_entry_bundle(EntryBundle(7))
    assert "'attestor sync --entries'" in caught.value.next_step
    with pytest.raises(IncompleteError, match="tile/entries/007"):
        mirror.entry_bundle_blob(EntryBundle(7))
    assert not mirror.has_entry_bundle(EntryBundle(1, 45))
    assert mirror.has_entry_bundle(EntryBundle(1, 44))


def test_the_accepted_checkpoint_may_be_ahead_of_the_mirror_checkpoint(
    mirror: Mirror, log: SimulatedLog
) -> None:
    mirror.accept(signed(log), DIRECT, {})
    accepted = mirror.history.accepted()
    assert accepted is not None and accepted.head.tree_size == 600
    assert size_of_mirror(mirror) == 300
    missing = list(mirror.missing_tiles(600))
    assert missing == [Tile(1, 0, 2), Tile(0, 1), Tile(0, 2, 88)]  # parents first
    for tile in missing[:-1]:
        mirror.add(dict(log.tiles([tile])), {})
        assert size_of_mirror(mirror) == 300
    mirror.add(dict(log.tiles(missing[-1:])), {})
    assert size_of_mirror(mirror) == 600
    assert list(mirror.missing_entry_bundles(600)) == [EntryBundle(1), EntryBundle(2, 88)]


def test_the_mirror_checkpoint_is_the_largest_that_is_covered(
    store: Store, log: SimulatedLog
) -> None:
    mirror = mirror_of(store, log)
    for size in (100, 256, 300, 512, 600):
        mirror.accept(signed(log, size), DIRECT, {})
    assert size_of_mirror(mirror) is None
    mirror.add(dict(log.tiles([Tile(0, 0)])), {})
    assert size_of_mirror(mirror) == 100  # 256 needs the tile above as well
    mirror.add(dict(log.tiles([Tile(1, 0, 1)])), {})
    assert size_of_mirror(mirror) == 256
    mirror.add(tiles_between(log, 256, 600), {})
    assert size_of_mirror(mirror) == 600


def test_settling_after_a_loss_goes_back(mirror: Mirror, log: SimulatedLog, store: Store) -> None:
    mirror.accept(signed(log), DIRECT, tiles_between(log, 300, 600))
    with store.atomic():
        store.execute("DELETE FROM tile WHERE level = 0 AND tile_index = 2")
        mirror.settle()
    assert size_of_mirror(mirror) == 300
    with store.atomic():
        store.execute("DELETE FROM tile WHERE level = 0 AND tile_index = 0")
        mirror.settle()
    assert size_of_mirror(mirror) is None


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 600])
def test_coverage_is_exactly_that_no_tile_is_missing(
    store: Store, log: SimulatedLog, size: int
) -> None:
    mirror = mirror_of(store, log)
    mirror.accept(signed(log, size), DIRECT, tiles_between(log, 0, size))
    assert mirror.covers(size)
    assert size_of_mirror(mirror) == size
    for level, index in {(tile.level, tile.index) for tile in tiles_of(size)}:
        with store.atomic(dry_run=True):
            store.execute("DELETE FROM tile WHERE level = ? AND tile_index = ?", [level, index])
            assert not mirror.covers(size)
            [missing] = mirror.missing_tiles(size)
            assert (missing.level, missing.index) == (level, index)


def test_a_second_root_for_one_size_is_no_row(mirror: Mirror, log: SimulatedLog) -> None:
    twin = log.fork(at=10)
    before = mirror.history.notes(300)
    with pytest.raises(ValueError, match="second root for size 300"):
        mirror.accept(signed(twin, 300), DIRECT, {})
    assert mirror.history.notes(300) == before


def test_an_arrival_from_a_server_or_a_stick_is_a_sync(mirror: Mirror, log: SimulatedLog) -> None:
    store = mirror.store
    assert last_sync(store, mirror.log) == NOW
    mirror.record_note(signed(log, 300), Arrival("seen", "a Sigstore bundle", NOW + 5))
    assert last_sync(store, mirror.log) == NOW
    mirror.record_note(signed(log, 300), Arrival("import", "stick.tar", NOW + 9))
    assert last_sync(store, mirror.log) == NOW + 9
    mirror.record_note(signed(log, 300), Arrival("direct", "clock set back", NOW + 1))
    assert last_sync(store, mirror.log) == NOW + 9


def test_an_audit_is_remembered(mirror: Mirror, log: SimulatedLog) -> None:
    assert mirror.audited() == (0, ())
    peaks = (log.leaf(0), log.leaf(1))
    mirror.remember_audit(256, peaks)
    assert mirror.audited() == (256, peaks)


def test_tiles_are_counted_and_their_blobs_found(mirror: Mirror) -> None:
    assert (mirror.tile_count(), mirror.tile_count(0), mirror.tile_count(1)) == (3, 2, 1)
    full, partial = mirror.tile_digests(0, range(2))
    assert full == mirror.tile_digest(Tile(0, 0)) and partial is None


@pytest.mark.parametrize("after", [False, True])
def test_a_power_cut_anywhere_in_accept_leaves_the_mirror_before_or_after(
    memory: Path, log: SimulatedLog, after: bool
) -> None:
    def grow(home: Path) -> None:
        store = open_store(home, write=True)
        try:
            mirror = Mirror(store, require_log(store, log.origin))
            mirror.accept(
                signed(log), DIRECT, tiles_between(log, 300, 600), bundles_between(log, 300, 600)
            )
        finally:
            store.close()

    def prepare(home: Path) -> None:
        store = create_store(home)
        mirror_of(store, log).accept(
            signed(log, 300), DIRECT, tiles_between(log, 0, 300), bundles_between(log, 0, 300)
        )
        store.close()

    prepare(memory / "counted")
    with injected(Faults()) as counted:
        grow(memory / "counted")
    assert "commit" in counted.calls and "fsync" in counted.calls
    for fail_at in range(1, len(counted.calls) + 1):
        home = memory / f"home-{fail_at}"
        prepare(home)
        with injected(Faults(fail_at, after=after)), pytest.raises(PowerCutError):
            grow(home)
        committed = counted.calls[fail_at - 1] == "commit" and after
        store = open_store(home, write=False)
        mirror = Mirror(store, require_log(store, log.origin))
        assert size_of_mirror(mirror) == (600 if committed else 300), fail_at
        verify_whole(mirror, log)
        store.close()
        grow(home)  # again, to the end
        store = open_store(home, write=False)
        mirror = Mirror(store, require_log(store, log.origin))
        assert size_of_mirror(mirror) == 600
        verify_whole(mirror, log)
        store.close()


@pytest.mark.parametrize("errno", [5, 28, 122])
def test_a_disk_error_anywhere_in_accept_is_an_error_of_ours_and_changes_nothing(
    mirror: Mirror, log: SimulatedLog, errno: int
) -> None:
    def grow() -> None:
        mirror.accept(signed(log), DIRECT, tiles_between(log, 300, 600))

    with injected(Faults()) as counted:
        mirror.store.blobs.put(tiles_between(log, 300, 600).values())
    sweep(mirror.store, NOW, dry_run=False)
    for fail_at in range(1, len(counted.calls) + 1):
        with (
            injected(Faults(fail_at, error=OSError(errno, "disk"))),
            pytest.raises(StoreError, match="disk"),
        ):
            grow()
        assert size_of_mirror(mirror) == 300
        verify_whole(mirror, log)
    grow()
    assert size_of_mirror(mirror) == 600
