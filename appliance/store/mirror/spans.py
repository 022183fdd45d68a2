"""What is stored of a log's tiles and entry bundles, by spans of 256 in a row.

The database keeps the counts (by triggers), so whoever asks what is missing or how
much there is reads one row for 65,536 entries, and tiles one by one only where there are gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from appliance.store.database import Store
from appliance.store.mirror.logs import Log
from appliance.tlog.tile import WIDTH, StoredRun

SPAN_TILES: Final = 256  # tiles or entry bundles that are counted together
TELLING_SPANS: Final = 64  # are looked at for all of them, where there are more

# Spans whose counts are not those of their rows: (what, log, level, span).
_MISCOUNTED: Final = (
    "WITH real AS (SELECT log_id, level, tile_index / 256 AS span, sum(width = 256) AS n_full,"
    " count(*) AS n_tiles, sum(width) AS n_hashes FROM tile GROUP BY 1, 2, 3)"
    " SELECT 'tile_span', log_id, level, span FROM real FULL JOIN tile_span AS kept"
    " USING (log_id, level, span) WHERE (coalesce(real.n_full, 0), coalesce(real.n_tiles, 0),"
    " coalesce(real.n_hashes, 0)) IS NOT (kept.n_full, kept.n_tiles, kept.n_hashes)",
    "WITH real AS (SELECT log_id, tile_index / 256 AS span, sum(width = 256) AS n_full,"
    " sum(width) AS n_entries, count(*) AS n_bundles, sum(n_bytes) AS n_bytes"
    " FROM entry_bundle GROUP BY 1, 2)"
    " SELECT 'entry_span', log_id, 0, span FROM real FULL JOIN entry_span AS kept"
    " USING (log_id, span) WHERE (coalesce(real.n_full, 0), coalesce(real.n_entries, 0),"
    " coalesce(real.n_bundles, 0), coalesce(real.n_bytes, 0))"
    " IS NOT (kept.n_full, kept.n_entries, kept.n_bundles, kept.n_bytes)",
    "WITH real AS (SELECT log_id, entry_index / 256 AS tile_index, count(*) AS n_entries"
    " FROM entry_window GROUP BY 1, 2)"
    " SELECT 'window_tile', log_id, 0, tile_index FROM real FULL JOIN window_tile AS kept"
    " USING (log_id, tile_index)"
    " WHERE coalesce(real.n_entries, 0) IS NOT kept.n_entries",
)


def stored_tiles(store: Store, log: Log, level: int, first: int = 0) -> Iterator[StoredRun]:
    """Yield what is stored at a level from the span of index `first` on, ascending."""
    where = f"tile_span WHERE log_id = {log.id} AND level = {level} AND n_tiles > 0"
    sql = (
        "SELECT tile_index, width FROM tile WHERE log_id = ? AND level = ?"
        " AND tile_index >= ? AND tile_index < ? ORDER BY tile_index"
    )
    stretches = _stretches(store, where, first // SPAN_TILES)
    return _runs(stretches, lambda start, stop: store.rows(sql, [log.id, level, start, stop]))


def stored_entry_bundles(store: Store, log: Log, first: int = 0) -> Iterator[StoredRun]:
    """Yield what is stored of entry bundles from the span of index `first` on, ascending."""
    where = f"entry_span WHERE log_id = {log.id} AND n_bundles > 0"
    sql = (
        "SELECT tile_index, width FROM entry_bundle WHERE log_id = ?"
        " AND tile_index >= ? AND tile_index < ? ORDER BY tile_index"
    )
    stretches = _stretches(store, where, first // SPAN_TILES)
    return _runs(stretches, lambda start, stop: store.rows(sql, [log.id, start, stop]))


def _stretches(store: Store, where: str, first: int) -> list[tuple[int, int, bool]]:
    """Return spans, ascending: the first, behind the last, and whether all of them are whole.

    A hundred million entries are two thousand spans. Mostly the whole ones are beside each
    other: they are counted instead of listed.
    """
    where = f"{where} AND span >= ?"
    row = store.row(
        f"SELECT min(span), max(span) + 1, count(*) FROM {where} AND n_full = {SPAN_TILES}",  # noqa: S608 ours
        [first],
    )
    start, stop, n_whole = tuple(row) if row else (None, None, 0)
    if n_whole and stop - start == n_whole:
        rows = store.rows(f"SELECT span FROM {where} AND n_full < {SPAN_TILES}", [first])  # noqa: S608
        return sorted([(start, stop, True), *((span, span + 1, False) for (span,) in rows)])
    rows = store.rows(f"SELECT span, n_full FROM {where} ORDER BY span", [first])  # noqa: S608
    return [(span, span + 1, n_full == SPAN_TILES) for span, n_full in rows]


def _runs(
    stretches: Iterable[tuple[int, int, bool]], read: Callable[[int, int], Iterable[Sequence[int]]]
) -> Iterator[StoredRun]:
    """Yield whole spans as one run, and the rows that `read` finds in the others."""
    for first, last, is_whole in stretches:
        start, stop = first * SPAN_TILES, last * SPAN_TILES
        if is_whole:
            yield StoredRun(start, stop, WIDTH)
        else:
            yield from (StoredRun(index, index + 1, width) for index, width in read(start, stop))


def full_tiles(store: Store, log: Log, level: int, first: int, stop: int) -> int:
    """Count the full tiles at a level with an index of `first` to `stop`, not included."""
    found = 0
    for run in stored_tiles(store, log, level, first):
        if run.start >= stop:
            break
        if run.width == WIDTH:
            found += max(min(run.stop, stop) - max(run.start, first), 0)
    return found


def spans_without_entries(store: Store, log: Log, first: int) -> list[int]:
    """Return the spans, from that of index `first` on, that lack entry bundles of stored tiles."""
    rows = store.rows(
        "SELECT t.span FROM tile_span AS t LEFT JOIN entry_span AS e"
        " ON e.log_id = t.log_id AND e.span = t.span"
        " WHERE t.log_id = ? AND t.level = 0 AND t.span >= ? AND t.n_tiles > 0"
        " AND coalesce(e.n_full, 0) < ? ORDER BY t.span",
        [log.id, first // SPAN_TILES, SPAN_TILES],
    )
    return [row["span"] for row in rows]


def telling_blobs(store: Store, log: Log) -> Iterator[bytes]:
    """Yield digests of blobs: of a whole span the first one's, of others each one's.

    Of more than TELLING_SPANS so many, evenly spread, and the last of each level.
    """
    for level, span, n_full in store.rows(_telling("level, span, n_full", "tile"), [log.id]):
        start = span * SPAN_TILES
        rows = store.rows(
            "SELECT digest FROM tile WHERE log_id = ? AND level = ?"
            " AND tile_index >= ? AND tile_index < ?",
            [log.id, level, start, start + (1 if n_full == SPAN_TILES else SPAN_TILES)],
        )
        yield from (row["digest"] for row in rows)
    for span, n_full in store.rows(_telling("span, n_full", "bundle"), [log.id]):
        start = span * SPAN_TILES
        rows = store.rows(
            "SELECT digest FROM entry_bundle WHERE log_id = ? AND tile_index >= ?"
            " AND tile_index < ?",
            [log.id, start, start + (1 if n_full == SPAN_TILES else SPAN_TILES)],
        )
        yield from (row["digest"] for row in rows)


def _telling(columns: str, of: str) -> str:
    """Return the query for the spans that tell of all: of a few each, of many some."""
    table, level = ("tile_span", "level") if of == "tile" else ("entry_span", "0")
    return (
        f"SELECT {columns} FROM (SELECT *, row_number() OVER (ORDER BY {level}, span) AS place,"  # noqa: S608 ours
        f" max(span) OVER (PARTITION BY {level}) AS last, count(*) OVER () AS n"
        f" FROM {table} WHERE log_id = ? AND n_{of}s > 0)"
        f" WHERE span = last OR (place - 1) % ((n + {TELLING_SPANS - 1}) / {TELLING_SPANS}) = 0"
    )


def span_problems(store: Store) -> list[str]:
    """Name the spans whose counts are not those of their rows; reads every row."""
    return [
        f"{what}: log {log}, level {level}, span {span} is miscounted"
        for sql in _MISCOUNTED
        for what, log, level, span in store.execute(sql)
    ]
