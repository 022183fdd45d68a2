"""What is stored of each log's tiles, since when, and forgetting some of it.

When a tile was stored is the modification time of its blob. Copying a home without its
times makes everything look new: then too little is pruned, never too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from appliance.store.database import Store
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.spans import SPAN_TILES, stored_entry_bundles, stored_tiles
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.tile import WIDTH, EntryBundle, StoredRun, Tile, missing_ranges
from appliance.value import frozen

_TILES = "SELECT level, tile_index, width, digest FROM tile WHERE log_id = ?"
_BUNDLES = "SELECT tile_index, width, digest, n_bytes FROM entry_bundle WHERE log_id = ?"


@frozen
class Cached:
    """A stored tile or entry bundle."""

    place: Tile | EntryBundle
    digest: bytes  # of its blob
    n_bytes: int  # of its blob


@frozen
class EntrySpan:
    """What is stored of 256 entry bundles in a row."""

    n_full: int  # of 256 entries
    n_entries: int  # in all of its entry bundles
    stamp: int  # another one after each change


@frozen
class CacheTotals:
    """What is stored of one log."""

    tiles: int
    entry_bundles: int
    n_bytes: int


def cached_tiles(store: Store, log: Log) -> Iterator[Cached]:
    """Yield every stored tile of a log, by level and index. Streams."""
    for row in store.execute(_TILES + " ORDER BY level, tile_index", [log.id]):
        tile = Tile(row["level"], row["tile_index"], row["width"])
        yield Cached(tile, row["digest"], tile.width * HASH_BYTES)


def tiles_in_cells(store: Store, log: Log, per_cell: int, n_cells: int) -> list[int]:
    """Count the stored level 0 tiles in each of so many cells of so many tiles, left to right."""
    rows = store.rows(
        "SELECT tile_index / ?2 AS cell, count(*) AS n FROM tile WHERE log_id = ?1 AND level = 0"
        " AND tile_index < ?2 * ?3 GROUP BY cell",
        [log.id, per_cell, n_cells],
    )
    counts = {row["cell"]: row["n"] for row in rows}
    return [counts.get(cell, 0) for cell in range(n_cells)]


def cached_entry_bundles(store: Store, log: Log) -> Iterator[Cached]:
    """Yield every stored entry bundle of a log, by index. Streams."""
    for row in store.execute(_BUNDLES + " ORDER BY tile_index", [log.id]):
        bundle = EntryBundle(row["tile_index"], row["width"])
        yield Cached(bundle, row["digest"], row["n_bytes"])


def entry_spans(store: Store, log: Log) -> dict[int, EntrySpan]:
    """Return what is stored of a log's entry bundles, by their index / 256."""
    rows = store.rows(
        "SELECT span, n_full, n_entries, stamp FROM entry_span WHERE log_id = ?", [log.id]
    )
    return {row["span"]: EntrySpan(row["n_full"], row["n_entries"], row["stamp"]) for row in rows}


def entry_bundles_in(store: Store, log: Log, span: int) -> dict[int, tuple[bytes, int]]:
    """Return digest and width of the stored entry bundles of one span, by index, ascending."""
    first = span * SPAN_TILES
    rows = store.execute(
        _BUNDLES + " AND tile_index >= ? AND tile_index < ? ORDER BY tile_index",
        [log.id, first, first + SPAN_TILES],
    )
    return {row["tile_index"]: (row["digest"], row["width"]) for row in rows}


def cache_totals(store: Store, log: Log) -> CacheTotals:
    """Count what is stored of a log."""
    [(tiles, hashes)] = store.rows(
        "SELECT coalesce(sum(n_tiles), 0), coalesce(sum(n_hashes), 0) FROM tile_span"
        " WHERE log_id = ?",
        [log.id],
    )
    [(bundles, n_bytes)] = store.rows(
        "SELECT coalesce(sum(n_bundles), 0), coalesce(sum(n_bytes), 0) FROM entry_span"
        " WHERE log_id = ?",
        [log.id],
    )
    return CacheTotals(tiles, bundles, hashes * HASH_BYTES + n_bytes)


def mirrored_entries(store: Store, log: Log) -> int:
    """Count the entries in the stored entry bundles of a log, or in windows of it."""
    n_entries = 0
    for table in ("entry_span", "window_tile"):
        sql = f"SELECT coalesce(sum(n_entries), 0) AS n FROM {table} WHERE log_id = ?"  # noqa: S608 ours
        row = store.row(sql, [log.id])
        n_entries = n_entries or (int(row["n"]) if row else 0)
    return n_entries


def covered_tiles(store: Store, log: Log, tree_size: int) -> int:
    """Count the level 0 tiles of a tree that are here as wide as it has them."""
    return _covered(stored_tiles(store, log, 0), tree_size)


def covered_entry_bundles(store: Store, log: Log, tree_size: int) -> int:
    """Count the entry bundles of a tree that are here as wide as it has them."""
    return _covered(stored_entry_bundles(store, log), tree_size)


def forget(mirror: Mirror, places: Iterable[Tile | EntryBundle]) -> None:
    """Delete rows of tiles and entry bundles; their blobs are for a sweep. One transaction.

    If we die after it, the blobs are unused and the next sweep takes them.
    """
    store, log = mirror.store, mirror.log
    tiles, bundles = [], []
    for place in places:
        if isinstance(place, Tile):
            tiles.append((log.id, place.level, place.index))
        else:
            bundles.append((log.id, place.index))
    with store.atomic():
        store.execute_many(
            "DELETE FROM tile WHERE log_id = ? AND level = ? AND tile_index = ?", tiles
        )
        store.execute_many("DELETE FROM entry_bundle WHERE log_id = ? AND tile_index = ?", bundles)
        if tiles:
            # What is fetched again one day was in no audit.
            store.execute(
                "UPDATE log SET audited_size = 0, audited_peaks = x'' WHERE id = ?", [log.id]
            )
            mirror.settle()


def _covered(stored: Iterator[StoredRun], tree_size: int) -> int:
    expected = -(-tree_size // WIDTH)
    return expected - sum(map(len, missing_ranges(stored, 0, tree_size)))
