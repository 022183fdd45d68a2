"""What is stored is counted, found, and forgotten; coverage follows."""

from __future__ import annotations

import pytest

from appliance.store.database import Store
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import (
    CacheTotals,
    cache_totals,
    cached_entry_bundles,
    cached_tiles,
    covered_entry_bundles,
    covered_tiles,
    forget,
)
from appliance.store.private_log.last_signed import LastSigned, swap_last_signed
from appliance.store.references import named_blobs, referenced_digests
from appliance.tlog.tile import EntryBundle, Tile, new_entry_bundles, tiles_of
from tests.simulator import SimulatedLog
from tests.store.test_mirror import DIRECT, bundles_between, mirror_of, signed, tiles_between


@pytest.fixture
def log() -> SimulatedLog:
    made = SimulatedLog()
    made.grow(600)
    return made


@pytest.fixture
def mirror(store: Store, log: SimulatedLog) -> Mirror:
    made = mirror_of(store, log)
    made.accept(signed(log), DIRECT, tiles_between(log, 0, 600), bundles_between(log, 0, 600))
    return made


def test_everything_stored_is_listed_with_the_blob_that_holds_it(
    store: Store, mirror: Mirror
) -> None:
    tiles = list(cached_tiles(store, mirror.log))
    bundles = list(cached_entry_bundles(store, mirror.log))
    assert {one.place for one in tiles} == set(tiles_of(600))
    assert [one.place for one in bundles] == list(new_entry_bundles(0, 600))
    for one in (*tiles, *bundles):
        file = store.blobs.file(one.digest)
        assert file is not None and file.n_bytes == one.n_bytes
    n_bytes = sum(one.n_bytes for one in (*tiles, *bundles))
    assert cache_totals(store, mirror.log) == CacheTotals(4, 3, n_bytes)


def test_another_log_s_tiles_are_another_log_s(store: Store, mirror: Mirror) -> None:
    other = SimulatedLog("other.example")
    other.grow(5)
    others = mirror_of(store, other)
    assert cache_totals(store, others.log) == CacheTotals(0, 0, 0)
    others.accept(signed(other), DIRECT, tiles_between(other, 0, 5))
    assert cache_totals(store, others.log).tiles == 1
    assert cache_totals(store, mirror.log).tiles == 4


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 600])
def test_a_tile_counts_if_it_is_as_wide_as_the_tree_has_it(
    store: Store, mirror: Mirror, size: int
) -> None:
    expected = -(-size // 256)
    assert covered_tiles(store, mirror.log, size) == expected
    assert covered_entry_bundles(store, mirror.log, size) == expected


def test_a_tile_that_is_too_narrow_does_not_count(store: Store, mirror: Mirror) -> None:
    assert covered_tiles(store, mirror.log, 601) == 2
    assert covered_tiles(store, mirror.log, 1000) == 2
    assert covered_entry_bundles(store, mirror.log, 601) == 2


def test_what_is_forgotten_is_gone_and_coverage_with_it(store: Store, mirror: Mirror) -> None:
    mirror.remember_audit(256, [])
    forget(mirror, [EntryBundle(0)])
    assert mirror.history.mirror_checkpoint() is not None
    assert mirror.audited()[0] == 256
    forget(mirror, [Tile(0, 1), EntryBundle(2, 88)])
    assert {one.place for one in cached_tiles(store, mirror.log)} == {
        *(Tile(1, 0, 2), Tile(0, 0), Tile(0, 2, 88)),
    }
    assert [one.place for one in cached_entry_bundles(store, mirror.log)] == [EntryBundle(1)]
    assert mirror.history.mirror_checkpoint() is None
    assert mirror.audited()[0] == 0  # what comes again was in no audit
    assert mirror.history.accepted() is not None


def test_references_are_all_rows_and_what_a_private_log_is_about_to_publish(
    store: Store, mirror: Mirror
) -> None:
    staged = b"\x05" * 32
    swap_last_signed(
        store.home, "own.example", expected=None, new=LastSigned("ab" * 32, 0, staged, b"note")
    )
    named = list(named_blobs(store))
    assert {blob.digest for blob in named} == referenced_digests(store)
    assert staged in referenced_digests(store)
    names = [blob.name for blob in named]
    assert "tile/0/002.p/88 of log.example" in names
    assert "tile/entries/001 of log.example" in names
    assert len(names) == 8
