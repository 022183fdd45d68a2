"""Back up, check, sweep, prune: what must stay stays, what is damaged is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from appliance.errors import (
    IncompleteError,
    MalformedError,
    RefusedError,
    RestoredError,
    StoreError,
)
from appliance.jobs.coverage import tile_stats
from appliance.jobs.home.backup import backup
from appliance.jobs.home.store_check import check_store
from appliance.jobs.home.sweep import KEEP_SECONDS, sweep
from appliance.jobs.mirror.absorb import absorb
from appliance.jobs.mirror.audit import audit
from appliance.jobs.mirror.prove import prove_consistency, prove_inclusion
from appliance.jobs.mirror.prune import Limits, clear, prune
from appliance.policy.relate import Relation
from appliance.store.database import Store, open_store
from appliance.store.home.key_files import create_signing_key, load_signing_key
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import add_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import cache_totals, cached_entry_bundles, cached_tiles
from appliance.store.private_log.last_signed import LastSigned, swap_last_signed
from appliance.store.references import referenced_digests
from appliance.tlog.tile import EntryBundle, Tile
from appliance.value import replaced
from tests.jobs.faults import Faults, PowerCutError, injected
from tests.mirror.mirrors import EVERYTHING, NOW, make_mirror, stored_state, sync_from
from tests.private_log.private_homes import home_in_memory, log_bodies, make_home
from tests.simulator import SimulatedLog

DAY = 86_400
SIZE = 1000


@pytest.fixture(scope="module")
def log() -> SimulatedLog:
    made = SimulatedLog()
    made.grow(SIZE)
    return made


@pytest.fixture
def mirror(log: SimulatedLog) -> Iterator[Mirror]:
    """A mirror of everything, tiles and entry bundles, stored 10 days ago."""
    with home_in_memory() as home:
        made = make_mirror(home, log)
        sync_from(made, log)
        for file in made.store.blobs.files():
            os.utime(file.path, (NOW - 10 * DAY, NOW - 10 * DAY))
        yield made
        made.store.close()


def blob_path(mirror: Mirror, place: Tile | EntryBundle) -> Path:
    cached = [
        *cached_tiles(mirror.store, mirror.log),
        *cached_entry_bundles(mirror.store, mirror.log),
    ]
    [digest] = [one.digest for one in cached if one.place == place]
    return mirror.store.blobs.path(digest)


def blob_names(store: Store) -> set[str]:
    return {file.path.name for file in store.blobs.files()}


def age(mirror: Mirror, place: Tile | EntryBundle, seconds: int) -> None:
    os.utime(blob_path(mirror, place), (NOW - seconds, NOW - seconds))


# --- check


def test_a_whole_store_has_nothing_wrong(mirror: Mirror) -> None:
    for read_data in (False, True):
        report = check_store(mirror.store, read_data=read_data)
        assert (report.database, report.damaged, report.blobs) == ((), (), 9)


def test_every_damaged_blob_is_named(mirror: Mirror) -> None:
    blob_path(mirror, Tile(0, 1)).unlink()
    truncated = blob_path(mirror, EntryBundle(2))
    truncated.write_bytes(truncated.read_bytes()[:-1])
    flipped = blob_path(mirror, Tile(0, 2))
    flipped.write_bytes(b"\x01" + flipped.read_bytes()[1:])
    blob_path(mirror, Tile(0, 0)).unlink()
    blob_path(mirror, Tile(1, 0, 3)).rename(mirror.store.home / "aside")
    found = {one.name: one.problem for one in check_store(mirror.store, read_data=True).damaged}
    assert {
        name.partition(" ")[0]: problem.partition(":")[0] for name, problem in found.items()
    } == {
        "tile/0/000": "missing",
        "tile/0/001": "missing",
        "tile/1/000.p/3": "missing",
        "tile/0/002": "damaged",
        "tile/entries/002": "damaged",
    }
    quick = {
        one.name.partition(" ")[0] for one in check_store(mirror.store, read_data=False).damaged
    }
    assert quick == {"tile/0/000", "tile/0/001", "tile/1/000.p/3", "tile/entries/002"}


def test_a_flipped_byte_anywhere_in_any_blob_is_found(mirror: Mirror) -> None:
    for file in list(mirror.store.blobs.files()):
        raw = file.path.read_bytes()
        for position in range(0, len(raw), max(len(raw) // 8, 1)):
            damaged = bytearray(raw)
            damaged[position] ^= 0x40
            file.path.write_bytes(damaged)
            [one] = check_store(mirror.store, read_data=True).damaged
            assert one.digest == file.digest
        file.path.write_bytes(raw)
    assert check_store(mirror.store, read_data=True).damaged == ()


def test_a_blob_of_the_wrong_length_for_its_row_is_found(mirror: Mirror) -> None:
    [digest] = mirror.store.blobs.put([b"whole, but no tile"])
    with mirror.store.atomic():
        mirror.store.execute("UPDATE tile SET digest = ? WHERE level = 1", [digest])
    for read_data in (False, True):
        [one] = check_store(mirror.store, read_data=read_data).damaged
        assert one.problem == "has 18 bytes, expected 96"


def test_rows_that_refer_to_nothing_are_found(mirror: Mirror) -> None:
    mirror.store.execute("PRAGMA foreign_keys = OFF")
    mirror.store.execute("DELETE FROM checkpoint_note")
    mirror.store.execute("DELETE FROM log_key")
    mirror.store.execute("INSERT INTO last_sync (log_id, at) VALUES (99, 5)")
    assert check_store(mirror.store, read_data=False).database != ()


# --- sweep


def test_a_sweep_removes_what_nothing_names_and_only_that(mirror: Mirror) -> None:
    store = mirror.store
    before = blob_names(store)
    [unused] = store.blobs.put([b"unused"])
    leftover = store.blobs.path(unused).with_suffix(".tmp")
    leftover.write_bytes(b"half")
    stranger = store.blobs.root / "README"
    stranger.write_bytes(b"?")
    for dry_run in (True, False):
        report = sweep(store, NOW, dry_run=dry_run)
        assert (report.blobs, report.temporary, report.n_bytes) == (1, 1, 10)
        assert report.foreign == (str(stranger),)
    assert blob_names(store) == before | {"README"}
    again = sweep(store, NOW, dry_run=False)
    assert (again.blobs, again.temporary) == (0, 0)


def test_a_replaced_partial_tile_is_swept(log: SimulatedLog, mirror: Mirror) -> None:
    narrow = blob_path(mirror, Tile(0, 3, SIZE % 256))
    grown = SimulatedLog()
    grown.grow(SIZE + 100)
    sync_from(mirror, grown)
    assert narrow.exists()
    assert sweep(mirror.store, NOW, dry_run=False).blobs == 0  # a reader may be about to read it
    assert narrow.exists()
    later = NOW + KEEP_SECONDS
    assert sweep(mirror.store, later, dry_run=False).blobs == 3  # and its entries, the tile above
    assert not narrow.exists()
    assert check_store(mirror.store, read_data=True).damaged == ()


def test_the_batch_a_private_log_is_about_to_publish_is_kept(mirror: Mirror) -> None:
    store = mirror.store
    [staged] = store.blobs.put([b"a batch"])
    record = LastSigned("ab" * 32, 0, staged, b"note")
    swap_last_signed(store.home, "own.example", expected=None, new=record)
    assert sweep(store, NOW, dry_run=False).blobs == 0
    assert store.blobs.get(staged) == b"a batch"
    (store.home / "keys" / "own.example.last").write_bytes(b"damaged")
    with pytest.raises(MalformedError):
        sweep(store, NOW, dry_run=False)
    assert store.blobs.get(staged) == b"a batch"


# --- prune


def test_entry_bundles_go_without_a_proof_being_lost(mirror: Mirror) -> None:
    report = prune(
        mirror.store,
        [mirror.log],
        Limits(older_than=9 * DAY, entries_only=True),
        NOW,
        allow_coverage_loss=False,
        dry_run=False,
    )
    [pruned] = report.logs
    assert (pruned.tiles, pruned.entry_bundles) == (0, 4)
    assert pruned.coverage is not None and pruned.coverage.percent == 100.0
    assert cache_totals(mirror.store, mirror.log).n_bytes == report.n_bytes
    assert len(blob_names(mirror.store)) == 5
    for index in range(0, SIZE, 100):
        prove_inclusion(mirror, index)
    assert audit(mirror, full=True).head.tree_size == SIZE


def test_losing_proofs_is_refused_with_the_coverage_that_would_remain(
    mirror: Mirror, log: SimulatedLog
) -> None:
    before, blobs = stored_state(mirror.store), blob_names(mirror.store)
    with pytest.raises(RefusedError, match=r"log\.example 25\.0% \(1,000\)") as caught:
        prune(
            mirror.store,
            [mirror.log],
            Limits(max_bytes=0),
            NOW,
            allow_coverage_loss=False,
            dry_run=False,
        )
    assert caught.value.reason == "coverage-loss"
    assert (stored_state(mirror.store), blob_names(mirror.store)) == (before, blobs)


def test_a_dry_run_says_what_would_remain_and_changes_nothing(mirror: Mirror) -> None:
    before, blobs = stored_state(mirror.store), blob_names(mirror.store)
    report = prune(
        mirror.store,
        [mirror.log],
        Limits(older_than=9 * DAY),
        NOW,
        allow_coverage_loss=True,
        dry_run=True,
    )
    [pruned] = report.logs
    assert (pruned.tiles, pruned.entry_bundles, str(pruned.coverage)) == (3, 4, "25.0% (1,000)")
    assert (stored_state(mirror.store), blob_names(mirror.store)) == (before, blobs)


def test_what_consistency_needs_stays_even_if_all_else_may_go(
    mirror: Mirror, log: SimulatedLog
) -> None:
    prune(
        mirror.store,
        [mirror.log],
        Limits(max_bytes=0),
        NOW,
        allow_coverage_loss=True,
        dry_run=False,
    )
    left = {one.place for one in cached_tiles(mirror.store, mirror.log)}
    assert left == {Tile(1, 0, 3), Tile(0, 3, SIZE % 256)}
    assert mirror.history.mirror_checkpoint() is None
    assert {bytes.fromhex(name) for name in blob_names(mirror.store)} == referenced_digests(
        mirror.store
    )
    prove_consistency(mirror, 768)
    with pytest.raises(IncompleteError):
        prove_inclusion(mirror, 5)
    grown = SimulatedLog()
    grown.grow(SIZE + 300)
    assert sync_from(mirror, grown).relation is Relation.AHEAD
    assert mirror.history.mirror_checkpoint() is not None  # and all that went came again


def test_the_oldest_go_first_and_no_more_than_necessary(mirror: Mirror) -> None:
    age(mirror, EntryBundle(1), 30 * DAY)
    age(mirror, Tile(0, 2), 30 * DAY)
    held = cache_totals(mirror.store, mirror.log).n_bytes

    def first_to_go(max_bytes: int) -> set[Tile | EntryBundle]:
        before = _places(mirror)
        report = prune(
            mirror.store,
            [mirror.log],
            Limits(max_bytes=max_bytes),
            NOW,
            allow_coverage_loss=True,
            dry_run=False,
        )
        assert report.n_bytes <= max_bytes
        return before - _places(mirror)

    assert first_to_go(held) == set()
    assert first_to_go(held - 1) == {EntryBundle(1)}
    hash_bytes = sum(one.n_bytes for one in cached_tiles(mirror.store, mirror.log))
    others = {EntryBundle(0), EntryBundle(2), EntryBundle(3, 232)}
    assert first_to_go(hash_bytes) == others  # entry bundles before tiles, however young
    assert first_to_go(hash_bytes - 1) == {Tile(0, 2)}


def _places(mirror: Mirror) -> set[Tile | EntryBundle]:
    store, log = mirror.store, mirror.log
    return {one.place for one in (*cached_tiles(store, log), *cached_entry_bundles(store, log))}


def test_a_young_tile_stays(mirror: Mirror) -> None:
    age(mirror, Tile(0, 1), 8 * DAY)
    report = prune(
        mirror.store,
        [mirror.log],
        Limits(older_than=9 * DAY),
        NOW,
        allow_coverage_loss=True,
        dry_run=False,
    )
    assert report.logs[0].tiles == 2
    assert Tile(0, 1) in _places(mirror)


def test_a_private_log_is_never_pruned_or_cleared() -> None:
    with home_in_memory() as home:
        make_home(home)
        log_bodies(home, [b"%d" % number for number in range(256)])
        store = open_store(home, write=True)
        [row] = store.rows("SELECT origin FROM log")
        with store.atomic():
            log = add_log(
                store, row["origin"], 2, load_signing_key(home, row["origin"]).verifier.spki
            )
        before = stored_state(store)
        report = prune(
            store, [log], Limits(max_bytes=0), NOW, allow_coverage_loss=True, dry_run=False
        )
        assert report.logs == ()
        with pytest.raises(RefusedError):
            clear(store, log, dry_run=False)
        assert stored_state(store) == before
        store.close()


def test_a_blob_that_two_logs_share_stays_for_the_other(mirror: Mirror, log: SimulatedLog) -> None:
    twin = SimulatedLog("twin.example")
    twin.grow(log.entries)  # the same leaves, so the same tiles
    store = mirror.store
    with store.atomic():
        known = add_log(store, twin.origin, 2, twin.key.spki)
    other = Mirror(store, known)
    absorb(other, twin, Arrival("direct", "url", NOW), EVERYTHING)
    assert len(blob_names(store)) == 9
    clear(store, mirror.log, dry_run=False)
    assert check_store(store, read_data=True).damaged == ()
    assert audit(other, full=True).head.tree_size == SIZE


def test_clearing_keeps_every_checkpoint_and_the_next_sync_brings_all_back(
    mirror: Mirror, log: SimulatedLog
) -> None:
    notes = mirror.history.notes(SIZE)
    dry = clear(mirror.store, mirror.log, dry_run=True)
    assert len(blob_names(mirror.store)) == 9
    cleared = clear(mirror.store, mirror.log, dry_run=False)
    assert dry == cleared
    assert (cleared.tiles, cleared.entry_bundles, str(cleared.coverage)) == (3, 4, "25.0% (1,000)")
    assert _places(mirror) == {Tile(1, 0, 3), Tile(0, 3, 232)}
    assert len(blob_names(mirror.store)) == 2
    assert mirror.history.notes(SIZE) == notes
    for _ in range(9):  # few a run, as configured for logs with millions of tiles
        report = sync_from(mirror, log, replaced(EVERYTHING, limit=1))
    assert (report.relation, report.mirror_size) == (Relation.SAME, SIZE)


@pytest.mark.parametrize("after", [False, True])
def test_a_power_cut_while_pruning_leaves_rows_that_name_blobs(mirror: Mirror, after: bool) -> None:
    home = mirror.store.home

    def run() -> None:
        store = open_store(home, write=True)
        try:
            prune(
                store,
                [mirror.log],
                Limits(max_bytes=0),
                NOW,
                allow_coverage_loss=True,
                dry_run=False,
            )
        finally:
            store.close()

    with injected(Faults(1, after=after)), pytest.raises(PowerCutError):
        run()
    assert check_store(mirror.store, read_data=True).damaged == ()
    run()
    sweep(mirror.store, NOW, dry_run=False)
    assert {bytes.fromhex(name) for name in blob_names(mirror.store)} == referenced_digests(
        mirror.store
    )


# --- stats


def test_stats_count_and_date_what_is_stored(mirror: Mirror) -> None:
    age(mirror, Tile(0, 1), 3 * DAY)
    stats = tile_stats(mirror)
    assert (stats.totals.tiles, stats.totals.entry_bundles) == (5, 4)
    assert (stats.oldest, stats.newest) == (NOW - 10 * DAY, NOW - 3 * DAY)
    assert str(stats.tiles) == str(stats.entries) == "100.0% (1,000)"


def test_stats_of_nothing_are_none() -> None:
    with home_in_memory() as home:
        mirror = make_mirror(home, SimulatedLog())
        stats = tile_stats(mirror)
        assert (stats.totals.tiles, stats.tiles, stats.oldest) == (0, None, None)
        mirror.store.close()


# --- backup


def test_a_database_backup_holds_everything_and_needs_no_lock(
    mirror: Mirror, tmp_path: Path
) -> None:
    def no_lock() -> nullcontext[None]:
        raise AssertionError("a reader must be able to do this")

    target = tmp_path / "b.db"
    report = backup(mirror.store, target, no_lock, with_blobs=False, with_keys=False)
    assert (report.path, report.blobs, report.keys, report.damaged) == (target, None, None, ())
    assert report.n_bytes == target.stat().st_size
    restored = tmp_path / "home"
    restored.mkdir(mode=0o700)
    shutil.copy(target, restored / "attestor.db")
    store = open_store(restored, write=False)
    assert stored_state(store) == stored_state(mirror.store)
    store.close()
    with pytest.raises(StoreError) as caught:
        backup(mirror.store, target, no_lock, with_blobs=False, with_keys=False)
    assert caught.value.reason == "file-exists"


def test_a_whole_backup_is_a_home(mirror: Mirror, tmp_path: Path) -> None:
    create_signing_key(mirror.store.home, "site", bytes(32))
    mirror.store.blobs.put([b"unused"])
    locked: list[bool] = []

    @contextmanager
    def lock() -> Iterator[None]:
        locked.append(True)
        yield

    target = tmp_path / "copy"
    report = backup(mirror.store, target, lock, with_blobs=True, with_keys=True)
    assert (report.blobs, report.keys, report.damaged, locked) == (9, 1, (), [True])
    assert {one.stat().st_mode & 0o077 for one in target.rglob("*")} == {0}
    store = open_store(target, write=True)
    assert stored_state(store) == stored_state(mirror.store)
    assert check_store(store, read_data=True).damaged == ()
    assert len(blob_names(store)) == 9  # what nothing names is not worth a copy
    assert load_signing_key(target, "site").skey == load_signing_key(mirror.store.home, "site").skey
    copied = Mirror(store, mirror.log)
    assert audit(copied, full=True).head.tree_size == SIZE
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_damaged_blob_is_named_and_the_rest_is_saved(mirror: Mirror, tmp_path: Path) -> None:
    blob_path(mirror, Tile(0, 1)).write_bytes(b"rot")
    report = backup(mirror.store, tmp_path / "copy", nullcontext, with_blobs=True, with_keys=False)
    assert report.blobs == 8
    [problem] = report.damaged
    assert problem.startswith("tile/0/001 of log.example: ")


def test_a_backup_of_a_private_log_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with home_in_memory() as home:
        make_home(home)
        log_bodies(home, [b"one", b"two"])
        store = open_store(home, write=False)
        report = backup(store, tmp_path / "copy", nullcontext, with_blobs=True, with_keys=True)
        assert (report.keys, report.damaged) == (2, ())  # the key, and what it signed last
        store.close()
        staged = referenced_digests(open_store(tmp_path / "copy", write=False))
        copied = open_store(tmp_path / "copy", write=False)
        for digest in staged:
            copied.blobs.get(digest)
        copied.close()
        home.rename(home.with_name("gone"))
        shutil.copytree(tmp_path / "copy", home)
        with pytest.raises(RestoredError, match="restored from a backup"):
            log_bodies(home, [b"three"])  # not before its operator says it is the only one
