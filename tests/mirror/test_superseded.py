"""Partial tiles that a wider one took the place of leave the disk, and no reader misses them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from appliance.jobs.home import backup as backups
from appliance.jobs.home.sweep import KEEP_SECONDS, sweep, sweep_superseded
from appliance.jobs.private_log.sequence import sequence
from appliance.store.database import Store, open_store
from appliance.store.home.backup import copy_blobs
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.store.references import NamedBlob, named_blobs
from appliance.tlog.tile import EntryBundle, Tile
from tests.mirror.mirrors import NOW, make_mirror, sync_from
from tests.private_log.private_homes import home_in_memory, make_home, writing
from tests.simulator import SimulatedLog

HOUR = 3600


@pytest.fixture
def log() -> SimulatedLog:
    made = SimulatedLog()
    made.grow(10)
    return made


@pytest.fixture
def mirror(tmp_path: Path, log: SimulatedLog) -> Iterator[Mirror]:
    made = make_mirror(tmp_path / "home", log)
    yield made
    made.store.close()


def run(mirror: Mirror, log: SimulatedLog, more: int, now: int) -> None:
    """Do what a run of sync does."""
    log.grow(more)
    sweep_superseded(mirror.store, now)
    sync_from(mirror, log, now=now)


def files(mirror: Mirror) -> int:
    return sum(1 for _ in mirror.store.blobs.files())


def test_the_disk_stays_flat_while_a_log_grows(mirror: Mirror, log: SimulatedLog) -> None:
    for number in range(25):
        run(mirror, log, 7, NOW + number * HOUR)
    named = {one.digest for one in named_blobs(mirror.store)}
    # One run's worth of partial tiles and entry bundles waits for the next run.
    assert files(mirror) - len(named) <= 6
    for number in range(25, 27):
        run(mirror, log, 0, NOW + number * HOUR)
    assert {one.digest for one in mirror.store.blobs.files()} == named


def test_nothing_goes_before_ten_minutes_and_a_run_are_over(
    mirror: Mirror, log: SimulatedLog
) -> None:
    run(mirror, log, 0, NOW)
    tile = Tile(0, 0, 10)
    digest = mirror.tile_digest(tile)
    assert digest is not None
    run(mirror, log, 7, NOW + HOUR)
    run(mirror, log, 7, NOW + 2 * HOUR)  # the first run that sees it
    for later in (0, KEEP_SECONDS - 1):
        sweep_superseded(mirror.store, NOW + 2 * HOUR + later)
        assert sweep(mirror.store, NOW + 2 * HOUR + later, dry_run=False).blobs == 0
        assert mirror.store.blobs.file(digest) is not None
    sweep_superseded(mirror.store, NOW + 2 * HOUR + KEEP_SECONDS)
    assert mirror.store.blobs.file(digest) is None


def test_what_another_log_names_stays(mirror: Mirror, log: SimulatedLog) -> None:
    run(mirror, log, 0, NOW)
    store = mirror.store
    with store.atomic():  # a copy of the log that stands still
        store.execute("INSERT INTO log (origin, api_version) VALUES ('copy.example', 2)")
        store.execute("INSERT INTO tile SELECT 2, level, tile_index, width, digest FROM tile")
    kept = {one.digest for one in named_blobs(store) if one.name.endswith("copy.example")}
    for number in range(1, 5):
        run(mirror, log, 300, NOW + number * HOUR)
    assert all(store.blobs.file(digest) is not None for digest in kept)


def test_a_reader_that_is_overtaken_reads_what_took_the_place(
    mirror: Mirror, log: SimulatedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(mirror, log, 0, NOW)
    places = (Tile(0, 0, 10), EntryBundle(0, 10))
    before = mirror.read_tiles([Tile(0, 0, 10)]), mirror.read_entry_bundle(EntryBundle(0, 10))
    reader = Mirror(open_store(mirror.store.home, write=False), mirror.log)
    stale = reader._tile_row(Tile(0, 0, 10)), reader._bundle_row(EntryBundle(0, 10))
    run(mirror, log, 7, NOW + HOUR)
    run(mirror, log, 0, NOW + 2 * HOUR)
    run(mirror, log, 0, NOW + 3 * HOUR)
    for name, row in zip(("_tile_row", "_bundle_row"), stale, strict=True):
        answers = iter([row])
        found = getattr(reader, name)
        # The row was read before the sync, its blob after the sweep.
        monkeypatch.setattr(
            reader, name, lambda place, a=answers, f=found: next(a, None) or f(place)
        )
    assert (reader.read_tiles([Tile(0, 0, 10)]), reader.read_entry_bundle(places[1])) == before
    assert mirror.store.blobs.marked() == ()
    reader.store.close()


def test_a_backup_copies_first_what_may_go(
    mirror: Mirror, log: SimulatedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(mirror, log, 700, NOW)
    order: list[bool] = []

    def watched(store: Store, named: Iterable[NamedBlob], directory: Path) -> Iterator[str | None]:
        blobs = list(named)
        order.extend(blob.is_passing for blob in blobs)
        return copy_blobs(store, blobs, directory)

    monkeypatch.setattr(backups, "copy_blobs", watched)
    target = tmp_path / "copy"
    report = backups.backup(mirror.store, target, nullcontext, with_blobs=True, with_keys=False)
    assert (report.damaged, order) == ((), sorted(order, reverse=True))
    assert order.count(True) >= 3


def test_a_private_log_sweeps_behind_itself() -> None:
    with home_in_memory() as home:
        make_home(home)
        with writing(home) as store:
            private = require_private_log(store, None)
            key = load_signing_key(home, private.log.origin)
            for number in range(40):
                bodies = [b"%d %d" % (number, one) for one in range(64)]
                sequence(store, private, key, bodies, NOW + number * HOUR)
            named = {one.digest for one in named_blobs(store)}
            left = sum(1 for one in store.blobs.files() if one.digest not in named)
            # Of 40 batches: each staged a blob, and most replaced a tile, an edge, a bundle.
            assert left <= 8 * 4, left
