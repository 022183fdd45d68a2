"""Entries of a log that serves no entry bundles, by index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from appliance.errors import IncompleteError
from appliance.store.database import Store
from appliance.store.mirror.entry_frames import compress_bundle, decompress_bundle
from appliance.store.mirror.logs import Log
from appliance.store.mirror.spans import SPAN_TILES
from appliance.value import frozen


@frozen
class WindowTile:
    """What is here of 256 entries in a row."""

    n_entries: int
    stamp: int  # another one after each change


class EntryWindows:
    """The entries of one log that were fetched, each proven."""

    def __init__(self, store: Store, log: Log) -> None:
        self.store = store
        self.log = log

    def count(self, start: int, stop: int) -> int:
        """Count the entries from an index up to another that are here."""
        row = self.store.row(
            "SELECT count(*) AS n FROM entry_window WHERE log_id = ? AND entry_index >= ?"
            " AND entry_index < ?",
            [self.log.id, start, stop],
        )
        return int(row["n"]) if row else 0

    def read(self, entry_index: int) -> bytes:
        """Return an entry's bytes; raises IncompleteError if it is not here."""
        row = self.store.row(
            "SELECT body FROM entry_window WHERE log_id = ? AND entry_index = ?",
            [self.log.id, entry_index],
        )
        if row is None:
            raise IncompleteError(
                f"entry {entry_index:,} of {self.log.origin} was not fetched",
                reason="no-entry",
                next_step=f"where the log can be reached: attestor sync --backend ID --from"
                f" {entry_index} --count 1; its next export brings it here",
            )
        return decompress_bundle(row["body"])

    def tiles(self, span: int | None = None) -> dict[int, WindowTile]:
        """Return how much is here of each 256 entries in a row, by their index / 256.

        Of one span only, or of all.
        """
        first, stop = (0, -1) if span is None else (span * SPAN_TILES, (span + 1) * SPAN_TILES)
        rows = self.store.rows(
            "SELECT tile_index, n_entries, stamp FROM window_tile WHERE log_id = ?1"
            " AND n_entries > 0 AND tile_index >= ?2 AND (tile_index < ?3 OR ?3 < 0)"
            " ORDER BY tile_index",
            [self.log.id, first, stop],
        )
        return {row["tile_index"]: WindowTile(row["n_entries"], row["stamp"]) for row in rows}

    def indices(self, start: int, stop: int) -> list[int]:
        """List the entries of a range that are here, by index, ascending."""
        rows = self.store.rows(
            "SELECT entry_index FROM entry_window WHERE log_id = ? AND entry_index >= ?"
            " AND entry_index < ? ORDER BY entry_index",
            [self.log.id, start, stop],
        )
        return [row["entry_index"] for row in rows]

    def here(self, start: int, stop: int) -> dict[int, int]:
        """Return the sizes in bytes of the entries of a range that are here, by index."""
        import zstandard

        rows = self.store.rows(
            "SELECT entry_index, substr(body, 1, 18) AS frame FROM entry_window"  # its header
            " WHERE log_id = ? AND entry_index >= ? AND entry_index < ? ORDER BY entry_index",
            [self.log.id, start, stop],
        )
        return {row["entry_index"]: zstandard.frame_content_size(row["frame"]) for row in rows}

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield the runs of entries here: the first of each, and one beyond its last."""
        rows = self.store.execute(
            "SELECT min(entry_index) AS start, max(entry_index) + 1 AS stop FROM (SELECT"
            " entry_index, entry_index - row_number() OVER (ORDER BY entry_index) AS run"
            " FROM entry_window WHERE log_id = ?) GROUP BY run ORDER BY start",
            [self.log.id],
        )
        for row in rows:
            yield row["start"], row["stop"]

    def put(self, bodies: Mapping[int, bytes]) -> None:
        """Keep proven entries by index. Call it inside store.atomic()."""
        self.store.execute_many(
            "INSERT INTO entry_window VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(self.log.id, index, compress_bundle(body)) for index, body in bodies.items()],
        )
