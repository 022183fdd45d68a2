"""How much of each log is stored here, and since when (tiles stats, sync-status)."""

from __future__ import annotations

from appliance.jobs.our_tree import is_without_tiles
from appliance.policy.coverage import Coverage
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.spans import telling_blobs
from appliance.store.mirror.tile_cache import (
    CacheTotals,
    cache_totals,
    covered_entry_bundles,
    covered_tiles,
)
from appliance.tlog.tile import WIDTH
from appliance.value import frozen


@frozen
class TileStats:
    """What is stored of one log."""

    totals: CacheTotals
    tiles: Coverage | None  # None: nothing was ever accepted, or it serves no tiles
    entries: Coverage | None
    oldest: int | None  # Unix seconds; None: nothing is stored
    newest: int | None


def coverage_of(mirror: Mirror) -> Coverage | None:
    """Compare the level 0 tiles that are here with those of the accepted checkpoint.

    None: there is none, or the log serves no tiles.
    """
    accepted = mirror.history.accepted()
    if accepted is None or is_without_tiles(mirror):
        return None
    size = accepted.head.tree_size
    return Coverage(size, covered_tiles(mirror.store, mirror.log, size), _expected(size))


def entry_coverage_of(mirror: Mirror) -> Coverage | None:
    """Compare the entry bundles that are here with those of the accepted checkpoint, likewise."""
    accepted = mirror.history.accepted()
    if accepted is None or is_without_tiles(mirror):
        return None
    size = accepted.head.tree_size
    return Coverage(size, covered_entry_bundles(mirror.store, mirror.log, size), _expected(size))


def tile_stats(mirror: Mirror) -> TileStats:
    """Count what is stored of a log, and look when it was stored.

    Of 256 full tiles in a row, which come together, the first tells for all of them; of a large
    log some of those do, evenly spread: looking takes as long as of a small one.
    """
    store, log = mirror.store, mirror.log
    oldest = newest = None
    for digest in telling_blobs(store, log):
        file = store.blobs.file(digest)
        if file is not None:
            stored_at = file.modified_at
            oldest = stored_at if oldest is None else min(oldest, stored_at)
            newest = stored_at if newest is None else max(newest, stored_at)
    return TileStats(
        cache_totals(store, log), coverage_of(mirror), entry_coverage_of(mirror), oldest, newest
    )


def _expected(tree_size: int) -> int:
    return -(-tree_size // WIDTH)
