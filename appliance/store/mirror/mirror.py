"""The mirror of one log: its accepted checkpoints, tiles and entry bundles.

Invariants (DESIGN.md, What is true at every instant), from which every write order here
follows: a row names a durable blob; nothing is stored that is not authenticated under an
accepted checkpoint; the mirror checkpoint is the largest accepted size whose tiles are all
here. Callers authenticate; this module makes durable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from appliance.errors import CorruptError, IncompleteError
from appliance.store.database import Store
from appliance.store.mirror.checkpoints import SYNCED, Arrival, History
from appliance.store.mirror.entry_frames import compress_bundle, decompress_bundle
from appliance.store.mirror.logs import REKOR_V1, Log
from appliance.store.mirror.proven_ranges import ProvenRanges
from appliance.store.mirror.spans import (
    SPAN_TILES,
    full_tiles,
    spans_without_entries,
    stored_entry_bundles,
    stored_tiles,
)
from appliance.store.mirror.sync_times import record_answer, record_sync
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.entries import truncate_entry_bundle
from appliance.tlog.merkle import HASH_BYTES, Hash
from appliance.tlog.tile import (
    HEIGHT,
    WIDTH,
    EntryBundle,
    StoredRun,
    Tile,
    full_tile_count,
    missing_ranges,
    tile_at,
    top_level,
)

_Place = TypeVar("_Place", Tile, EntryBundle)
_Rows = tuple[list[tuple[object, ...]], list[tuple[object, ...]]]  # of tiles, of entry bundles


class Mirror:
    """Everything stored of one log."""

    def __init__(self, store: Store, log: Log) -> None:
        self.store = store
        self.log = log
        self.history = History(store, log)

    # --- reading tiles and entries

    def read_tiles(self, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        """Read tiles, truncating wider ones to what was asked for.

        Raises IncompleteError for one that is not here, DigestError for a damaged blob. The
        bytes are what was stored; the caller authenticates them.
        """
        return {tile: self._read_tile(tile) for tile in wanted}

    def tile_digest(self, tile: Tile) -> bytes | None:
        """Return the blob digest of exactly this tile; None if it is stored wider.

        Raises IncompleteError if it is not here.
        """
        row = self._tile_row(tile)
        if row is None or row[0] < tile.width:
            raise self._missing_place(tile.path)
        return row[1] if row[0] == tile.width else None

    def read_entry_bundle(self, bundle: EntryBundle) -> bytes:
        """Read an entry bundle, decompressed and truncated to what was asked for."""
        row = self._bundle_row(bundle)
        if row is None or row[0] < bundle.width:
            raise self._missing_place(bundle.path, "--entries")
        data = self._read_named(row[1], lambda: self._bundle_row(bundle))
        return truncate_entry_bundle(decompress_bundle(data), bundle.width)

    def entry_bundle_blob(self, bundle: EntryBundle) -> tuple[bytes, int] | None:
        """Return digest and stored size of exactly this entry bundle; None if stored wider.

        Raises IncompleteError if it is not here.
        """
        row = self._bundle_row(bundle)
        if row is None or row[0] < bundle.width:
            raise self._missing_place(bundle.path, "--entries")
        return (row[1], row[2]) if row[0] == bundle.width else None

    def has_tile(self, tile: Tile) -> bool:
        """Whether a tile is here, at least this wide."""
        row = self._tile_row(tile)
        return row is not None and row[0] >= tile.width

    def has_entry_bundle(self, bundle: EntryBundle) -> bool:
        """Whether an entry bundle is here, at least this wide."""
        row = self._bundle_row(bundle)
        return row is not None and row[0] >= bundle.width

    def places_of(self, digests: Collection[bytes]) -> Iterator[Tile | EntryBundle]:
        """Yield where blobs of these digests stand; reads every row of the log."""
        if not digests:
            return
        wanted = set(digests)
        sql = "SELECT level, tile_index, width, digest FROM tile WHERE log_id = ?"
        for row in self.store.execute(sql, [self.log.id]):
            if row["digest"] in wanted:
                yield Tile(row["level"], row["tile_index"], row["width"])
        sql = "SELECT tile_index, width, digest FROM entry_bundle WHERE log_id = ?"
        for row in self.store.execute(sql, [self.log.id]):
            if row["digest"] in wanted:
                yield EntryBundle(row["tile_index"], row["width"])

    def tile_digests(self, level: int, indices: range) -> list[bytes | None]:
        """Return the blob digests of the full tiles at these places; None where one is not."""
        rows = self.store.rows(
            "SELECT tile_index, digest FROM tile WHERE log_id = ? AND level = ?"
            " AND tile_index >= ? AND tile_index < ? AND width = 256",
            [self.log.id, level, indices.start, indices.stop],
        )
        found = {row["tile_index"]: row["digest"] for row in rows}
        return [found.get(index) for index in indices]

    def audited(self) -> tuple[int, tuple[Hash, ...]]:
        """Return how many leaves the last audit rebuilt, and their compact range's peaks."""
        row = self.store.row(
            "SELECT audited_size, audited_peaks FROM log WHERE id = ?", [self.log.id]
        )
        size, raw = (row["audited_size"], row["audited_peaks"]) if row else (0, b"")
        starts = range(0, len(raw), HASH_BYTES)
        return size, tuple(Hash(raw[start : start + HASH_BYTES]) for start in starts)

    def remember_audit(self, tree_size: int, peaks: Sequence[Hash]) -> None:
        """Record an audit, so that the next one can start there."""
        with self.store.atomic():
            self.store.execute(
                "UPDATE log SET audited_size = ?, audited_peaks = ? WHERE id = ?",
                [tree_size, b"".join(peaks), self.log.id],
            )

    def missing_tiles(self, tree_size: int, old_size: int = 0) -> Iterator[Tile]:
        """Yield the tiles of a tree that are not here wide enough, parents first.

        Not those that the tree of `old_size` had as well. There are as many as the tree
        claims: take a few, or use count_missing and missing_among.
        """
        for level, indices in self._missing(tree_size, old_size):
            for index in indices:
                yield tile_at(level, index, tree_size)

    def count_missing(self, tree_size: int) -> int:
        """Count the tiles of a tree that are not here wide enough."""
        return sum(len(indices) for _, indices in self._missing(tree_size, 0))

    def missing_among(self, tiles: Iterable[Tile], tree_size: int) -> Iterator[Tile]:
        """Yield those of `tiles`, sorted by level and index, that a tree has and we lack."""
        for level, row in groupby(tiles, lambda tile: tile.level):
            yield from _lacking(row, partial(stored_tiles, self.store, self.log, level), tree_size)

    def missing_entry_bundles(self, tree_size: int, old_size: int = 0) -> Iterator[EntryBundle]:
        """Yield the entry bundles of a tree that are not here wide enough, left to right.

        There are as many as the tree claims.
        """
        first = old_size // WIDTH
        stored = stored_entry_bundles(self.store, self.log, first)
        for indices in missing_ranges(stored, 0, tree_size, first):
            for index in indices:
                yield EntryBundle(index, min(WIDTH, tree_size - index * WIDTH))

    def missing_bundles_among(
        self, bundles: Iterable[EntryBundle], tree_size: int
    ) -> Iterator[EntryBundle]:
        """Yield those of `bundles`, sorted by index, that a tree has and we lack."""
        stored = partial(stored_entry_bundles, self.store, self.log)
        yield from _lacking(bundles, stored, tree_size)

    def first_entry_bundle(self) -> int:
        """Return the smallest index of an entry bundle that is here; 0: there is none."""
        row = self.store.row(
            "SELECT min(tile_index) AS first FROM entry_bundle WHERE log_id = ?", [self.log.id]
        )
        return int(row["first"] or 0) if row else 0

    def provable_entry_bundles(self, tree_size: int, first: int = 0) -> Iterator[EntryBundle]:
        """Yield the missing entry bundles from an index on whose tile is here, left to right."""
        full, edge = divmod(tree_size, WIDTH)
        for span in spans_without_entries(self.store, self.log, first):
            start = span * SPAN_TILES
            rows = self.store.rows(
                "SELECT t.tile_index FROM tile AS t LEFT JOIN entry_bundle AS e"
                " ON e.log_id = t.log_id AND e.tile_index = t.tile_index"
                " WHERE t.log_id = ?1 AND t.level = 0 AND t.tile_index <= ?2"
                " AND t.width >= iif(t.tile_index < ?2, 256, max(?3, 1))"
                " AND coalesce(e.width, 0) < iif(t.tile_index < ?2, 256, ?3)"
                " AND t.tile_index >= ?4 AND t.tile_index < ?5 ORDER BY t.tile_index",
                [self.log.id, full, edge, max(first, start), start + SPAN_TILES],
            )
            for row in rows:
                index = row["tile_index"]
                yield EntryBundle(index, min(WIDTH, tree_size - index * WIDTH))

    def require_all(self, missing: Iterator[Tile] | Iterator[EntryBundle]) -> None:
        """Raise IncompleteError that names the first of what is missing; nothing: all is here."""
        for place in missing:
            option = "--entries" if isinstance(place, EntryBundle) else "--full-tiles"
            raise self._missing_place(place.path, option)

    def tile_count(self, level: int | None = None) -> int:
        """Count stored tiles, at one level or in all."""
        where, values = ("", []) if level is None else (" AND level = ?", [level])
        sql = "SELECT coalesce(sum(n_tiles), 0) AS n FROM tile_span WHERE log_id = ?" + where  # noqa: S608 fixed text
        row = self.store.row(sql, [self.log.id, *values])
        return int(row["n"]) if row else 0

    def count_entry_bundles(self, first: int = 0) -> int:
        """Count stored entry bundles from an index on."""
        sql = "SELECT count(*) AS n FROM entry_bundle WHERE log_id = ? AND tile_index >= ?"
        row = self.store.row(sql, [self.log.id, first])
        return int(row["n"]) if row else 0

    # --- writing

    def accept(
        self,
        checkpoint: SignedCheckpoint,
        arrival: Arrival,
        tiles: Mapping[Tile, bytes],
        entry_bundles: Mapping[EntryBundle, bytes] | None = None,
        ranges: Mapping[tuple[int, int], Hash] | None = None,
    ) -> None:
        """Record a checkpoint and its authenticated tiles, all or nothing.

        Of a log without tiles `ranges` are what the proof of it gave hashes of.

        The caller has proven it consistent with every accepted one. If we die before the
        transaction commits, the mirror stands where it did and some blobs are unused.
        """
        rows = self._put_blobs(tiles, entry_bundles or {})
        # Every blob is durable from here on, so rows may name them.
        with self.store.atomic():
            self.put_rows(*rows)
            self._arrive(checkpoint, arrival, ranges)

    def add(self, tiles: Mapping[Tile, bytes], entry_bundles: Mapping[EntryBundle, bytes]) -> None:
        """Store tiles and entry bundles authenticated under an accepted checkpoint."""
        self._name(self._put_blobs(tiles, entry_bundles))

    def add_tiles(self, tiles: Iterable[tuple[Tile, bytes]]) -> int:
        """Store tiles, authenticated as for `add`, each as it comes; return how many those were.

        What `tiles` raises leaves none of them here.
        """
        places: list[Tile] = []

        def blobs() -> Iterator[bytes]:
            for tile, data in tiles:
                places.append(tile)
                yield data

        digests = self.store.blobs.put(blobs())
        if places:
            self.add_placed(dict(zip(places, digests, strict=True)))
        return len(places)

    def add_entry_bundles(self, entry_bundles: Iterable[tuple[EntryBundle, bytes]]) -> int:
        """Store entry bundles as `add_tiles` does tiles."""
        places: list[tuple[EntryBundle, int]] = []

        def blobs() -> Iterator[bytes]:
            for bundle, data in entry_bundles:
                packed = compress_bundle(data)
                places.append((bundle, len(packed)))
                yield packed

        digests = self.store.blobs.put(blobs())
        rows: list[tuple[object, ...]] = [
            (self.log.id, bundle.index, bundle.width, digest, n_bytes)
            for (bundle, n_bytes), digest in zip(places, digests, strict=True)
        ]
        if rows:
            self._name(([], rows))
        return len(rows)

    def add_placed(self, digests: Mapping[Tile, bytes]) -> None:
        """Store tiles, authenticated as for `add`, that are durable blobs of these digests."""
        ids = ((tile.level, tile.index, tile.width, digest) for tile, digest in digests.items())
        self._name(([(self.log.id, *one) for one in ids], []))

    def record_note(
        self,
        checkpoint: SignedCheckpoint,
        arrival: Arrival,
        ranges: Mapping[tuple[int, int], Hash] | None = None,
    ) -> None:
        """Keep one more note for a tree head proven to be a prefix of the accepted one.

        `ranges` as for accept.
        """
        with self.store.atomic():
            self._arrive(checkpoint, arrival, ranges)

    def put_ranges(self, ranges: Mapping[tuple[int, int], Hash]) -> None:
        """Keep ranges proven under the accepted checkpoint; inside store.atomic()."""
        accepted = self.history.accepted()
        if accepted is None:
            raise ValueError("ranges of a tree of which nothing was accepted")
        ProvenRanges(self.store, self.log).put(ranges, accepted.head.tree_size)

    def record_answer(self, arrival: Arrival) -> None:
        """Note that the log said again what is here, without keeping one more note of it."""
        with self.store.atomic():
            self._answered(arrival)

    def forget_absent(self) -> int:
        """Forget tiles and entry bundles whose blobs are gone; return how many those were."""
        gone = 0
        with self.store.atomic():
            for table in ("tile", "entry_bundle"):
                rows = self.store.rows(
                    f"SELECT DISTINCT digest FROM {table} WHERE log_id = ?",  # noqa: S608 ours
                    [self.log.id],
                )
                for row in rows:
                    if self.store.blobs.file(row["digest"]) is None:
                        gone += self.store.execute(
                            f"DELETE FROM {table} WHERE log_id = ? AND digest = ?",  # noqa: S608
                            [self.log.id, row["digest"]],
                        ).rowcount
            if gone:
                self.settle()
        return gone

    def settle(self) -> None:
        """Recompute the mirror checkpoint, after tiles were removed. Inside store.atomic()."""
        self.store.execute("UPDATE log SET mirror_size = NULL WHERE id = ?", [self.log.id])
        self._settle()

    def covers(self, tree_size: int, *, above: int = 0) -> bool:
        """Whether every tile of a tree is here; those of the tree `above` are taken as here."""
        if tree_size == 0:
            return True
        for level in range(top_level(tree_size) + 1):
            first = full_tile_count(level, above)
            hashes = tree_size >> (8 * level)
            full, width = divmod(hashes, WIDTH)
            # Tiles come left to right, so the last one tells of most gaps without counting:
            # a large import asks after each batch.
            if full > first and not self.has_tile(Tile(level, full - 1)):
                return False
            if full_tiles(self.store, self.log, level, first, full) != max(full - first, 0):
                return False
            if width:
                edge = self._tile_row(Tile(level, full, width))
                if edge is None or edge[0] < width:
                    return False
        return True

    # --- inside

    def _arrive(
        self,
        checkpoint: SignedCheckpoint,
        arrival: Arrival,
        ranges: Mapping[tuple[int, int], Hash] | None,
    ) -> None:
        self.history.insert(checkpoint, arrival)
        if ranges:
            self.put_ranges(ranges)
        self._answered(arrival)
        self._settle()

    def _answered(self, arrival: Arrival) -> None:
        if arrival.source in SYNCED:
            answered_at = arrival.seen_at if arrival.answered_at is None else arrival.answered_at
            record_sync(self.store, self.log, arrival.seen_at, answered_at)
        if arrival.backend is not None:
            record_answer(self.store, arrival.backend, arrival.seen_at)

    def _tile_row(self, tile: Tile) -> tuple[int, bytes] | None:
        row = self.store.row(
            "SELECT width, digest FROM tile WHERE log_id = ? AND level = ? AND tile_index = ?",
            [self.log.id, tile.level, tile.index],
        )
        return (row["width"], row["digest"]) if row else None

    def _bundle_row(self, bundle: EntryBundle) -> tuple[int, bytes, int] | None:
        row = self.store.row(
            "SELECT width, digest, n_bytes FROM entry_bundle WHERE log_id = ? AND tile_index = ?",
            [self.log.id, bundle.index],
        )
        return (row["width"], row["digest"], row["n_bytes"]) if row else None

    def _read_tile(self, tile: Tile) -> bytes:
        row = self._tile_row(tile)
        if row is None or row[0] < tile.width:
            raise self._missing_place(tile.path)
        data = self._read_named(row[1], lambda: self._tile_row(tile))
        return data[: tile.width * HASH_BYTES]

    def _read_named(self, digest: bytes, row: Callable[[], tuple[Any, ...] | None]) -> bytes:
        """Read the blob that a row named; if it was superseded and swept since, its successor."""
        while True:
            try:
                return self.store.blobs.get(digest)
            except CorruptError:
                now = row()
                if now is None or now[1] == digest:
                    raise
                self.store.blobs.unmark(digest)
                digest = now[1]

    def _missing_place(self, path: str, option: str = "--full-tiles") -> IncompleteError:
        return IncompleteError(
            f"{path} of {self.log.origin} is not in the mirror",
            reason="tile-missing",
            next_step=f"run 'attestor sync {option}', or import a transfer bundle that has it",
        )

    def _missing(self, tree_size: int, old_size: int) -> Iterator[tuple[int, range]]:
        for level in reversed(range(top_level(tree_size) + 1) if tree_size else range(0)):
            first = full_tile_count(level, old_size)
            if old_size and old_size >> (HEIGHT * level) == tree_size >> (HEIGHT * level):
                continue  # what is partial there is what it was
            stored = stored_tiles(self.store, self.log, level, first)
            for indices in missing_ranges(stored, level, tree_size, first):
                yield level, indices

    def _put_blobs(
        self, tiles: Mapping[Tile, bytes], entry_bundles: Mapping[EntryBundle, bytes]
    ) -> _Rows:
        packed = [compress_bundle(data) for data in entry_bundles.values()]
        digests = self.store.blobs.put([*tiles.values(), *packed])
        bundle_digests = digests[len(tiles) :]
        tile_rows: list[tuple[object, ...]] = [
            (self.log.id, tile.level, tile.index, tile.width, digest)
            for tile, digest in zip(tiles, digests, strict=False)
        ]
        bundle_rows: list[tuple[object, ...]] = [
            (self.log.id, bundle.index, bundle.width, digest, len(data))
            for bundle, digest, data in zip(entry_bundles, bundle_digests, packed, strict=True)
        ]
        return tile_rows, bundle_rows

    def _name(self, rows: _Rows) -> None:
        # Every blob is durable by now, so rows may name them.
        with self.store.atomic():
            self.put_rows(*rows)
            self._settle()

    def put_rows(
        self, tiles: Sequence[Sequence[object]], entry_bundles: Sequence[Sequence[object]]
    ) -> None:
        """Name durable blobs, inside store.atomic(); what they supersede is noted by a trigger.

        A narrower tile never replaces a wider one: a slow run must not undo a fast one.
        """
        self.store.execute_many(
            "INSERT INTO tile VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " width = excluded.width, digest = excluded.digest WHERE excluded.width >= width",
            tiles,
        )
        self.store.execute_many(
            "INSERT INTO entry_bundle VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " width = excluded.width, digest = excluded.digest, n_bytes = excluded.n_bytes"
            " WHERE excluded.width >= width",
            entry_bundles,
        )

    def _settle(self) -> None:
        """Move the mirror checkpoint up to the largest accepted size covered by tiles."""
        current = self.history.mirror_checkpoint()
        above = current.head.tree_size if current else 0
        # An empty tree has no tiles: of a log that serves none it says nothing of where they are.
        is_empty_one = self.log.api_version != REKOR_V1
        sizes = self.history.accepted_sizes(above=-1 if is_empty_one and not current else above)
        # Whoever covers a size covers every smaller one, so search by halves.
        low, high = 0, len(sizes)
        while low < high:
            middle = (low + high) // 2
            if self.covers(sizes[middle], above=above):
                low = middle + 1
            else:
                high = middle
        if low:
            self.store.execute(
                "UPDATE log SET mirror_size = ? WHERE id = ?", [sizes[low - 1], self.log.id]
            )


def supersede(store: Store, digest: bytes) -> None:
    """Let a blob that is used no more go with the superseded tiles. Inside store.atomic()."""
    store.execute(
        "INSERT INTO superseded_blob (digest) VALUES (?) ON CONFLICT DO NOTHING", [digest]
    )


def _lacking(
    places: Iterable[_Place], stored_from: Callable[[int], Iterator[StoredRun]], tree_size: int
) -> Iterator[_Place]:
    """Yield what of one level, ascending, a tree has at just this width and is not stored."""
    stored: Iterator[StoredRun] | None = None
    run = None
    for place in places:
        if stored is None:
            stored = stored_from(place.index)
            run = next(stored, None)
        tile = place if isinstance(place, Tile) else place.tile
        hashes = (tree_size >> (HEIGHT * tile.level)) - tile.index * WIDTH
        if min(WIDTH, hashes) != tile.width:
            continue
        while run is not None and run.stop <= tile.index:
            run = next(stored, None)
        if run is None or run.start > tile.index or run.width < tile.width:
            yield place
