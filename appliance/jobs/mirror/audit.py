"""Audit a mirror: re-hash every blob and rebuild the root (tiles verify).

The newest mirror checkpoint is opened again with the pinned keys; the level 0 tiles are
folded to its root; the tiles above are authenticated under it; entry bundles must have
the leaf hashes of their tiles. Incremental: the compact range at the last audited size is
kept, so that only what came after it is read again, unless a full audit is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, CorruptError, IncompleteError
from appliance.jobs.progress import SILENT, Progress
from appliance.jobs.workers import Workers
from appliance.store.blobs import Blobs
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.compact_range import CompactRange
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead, perfect_root
from appliance.tlog.proof import NodeId
from appliance.tlog.tile import (
    HEIGHT,
    WIDTH,
    EntryBundle,
    Tile,
    edge_tiles,
    full_tile_count,
    new_entry_bundles,
    top_level,
)
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen

# The roots of stored full tiles, as workers compute them for an audit.


@frozen
class StoredTiles:
    """Blobs that have to be full tiles; None: one that is not here."""

    blobs: str  # the directory
    digests: Sequence[bytes | None]


def stored_roots(tiles: StoredTiles) -> list[Hash | None]:
    """Return the root of each tile; None for what is damaged or gone."""
    blobs = Blobs(Path(tiles.blobs))
    return [None if digest is None else _root(blobs, digest) for digest in tiles.digests]


def _root(blobs: Blobs, digest: bytes) -> Hash | None:
    try:
        data = blobs.get(digest)
    except ApplianceError:
        return None
    return perfect_root(data) if len(data) == WIDTH * HASH_BYTES else None


CHUNK_TILES: Final = 512  # hashed by one process at a time
STEP_TILES: Final = 8192  # after which what was audited is remembered: a killed run loses one
MAX_NAMED: Final = 100  # damaged tiles that one report names


@frozen
class AuditReport:
    """What was rebuilt."""

    origin: str
    head: TreeHead  # the mirror checkpoint, rebuilt from blobs
    from_size: int  # leaves below this were audited by an earlier run
    tiles: int  # read, re-hashed and folded into the root
    entry_bundles: int  # read, re-hashed and compared with their tiles
    entries: int = 0  # of windows of a log without tiles, hashed and proven


def audit(mirror: Mirror, *, full: bool, jobs: int = 1, progress: Progress = SILENT) -> AuditReport:
    """Rebuild the root of the mirror checkpoint from the stored blobs.

    A run that is killed is gone on with by the next that is not `full`. Raises IncompleteError
    if no accepted checkpoint is covered by tiles, CorruptError naming what does not hash to what
    was proven.
    """
    accepted = mirror.history.mirror_checkpoint()
    if accepted is None:
        raise IncompleteError(
            f"no checkpoint of {mirror.log.origin} is covered by tiles yet",
            reason="no-mirror-checkpoint",
            next_step="run 'attestor sync --full-tiles' first",
        )
    head = open_checkpoint(accepted.note, mirror.log.keys, mirror.log.origin).head
    run = _Audit(mirror, head, jobs, progress)
    audited_size, peaks = mirror.audited()
    if full or audited_size > head.tree_size:
        audited_size, peaks = 0, ()
    leaves = CompactRange(audited_size, peaks)
    run.check_upper_tiles()
    checked_size = run.fold_full_tiles(leaves)
    whole_tiles = (leaves.tree_size, tuple(leaves.peaks))
    run.fold_partial_tile(leaves)
    run.check_entry_bundles(checked_size)
    if not run.damaged and leaves.head != head:
        run.damaged.append(f"root: got {leaves.head.root_hash.hex()}")
    if run.damaged:
        raise CorruptError(
            f"{mirror.log.origin}: {len(run.damaged)} stored items do not lead to the proven "
            f"root {head.root_hash.hex()} of size {head.tree_size}: "
            + ", ".join(run.damaged[:MAX_NAMED]),
            next_step="repair with 'attestor tiles fetch' or import a transfer bundle again",
            blobs=run.damaged[:MAX_NAMED],
        )
    mirror.remember_audit(*whole_tiles)
    return AuditReport(mirror.log.origin, head, audited_size, run.tiles, run.entry_bundles)


class _Audit:
    """One run: counts what it read and names what is damaged, without stopping at the first."""

    def __init__(self, mirror: Mirror, head: TreeHead, jobs: int, progress: Progress) -> None:
        self.mirror = mirror
        self.tree = TileTree(head)
        self.size = head.tree_size
        self.jobs = jobs
        self.progress = progress
        self.damaged: list[str] = []
        self.tiles = 0
        self.entry_bundles = 0

    def check_upper_tiles(self) -> None:
        """Authenticate the right edge and every tile above level 0, top down."""
        try:
            self.tree.load([], self.mirror.read_tiles)
        except ApplianceError as error:
            self.damaged.append(f"right edge ({error.message})")
            return
        levels = range(1, top_level(self.size) + 1 if self.size else 1)
        self.progress.stage(
            "upper tiles", lambda: sum(full_tile_count(level, self.size) for level in levels)
        )
        for level in reversed(levels):
            for index in range(full_tile_count(level, self.size)):
                self._load(Tile(level, index))
                self.tiles += 1
                self.progress(1)
            self.tree.trim()

    def fold_full_tiles(self, leaves: CompactRange) -> int:
        """Append the root of every full level 0 tile not audited before.

        Return up to which leaf the entry bundles were checked as well. If we die, the next audit
        goes on after the last step whose tiles and entry bundles were whole.
        """
        checked_size = leaves.tree_size
        first, stop = checked_size // WIDTH, full_tile_count(0, self.size)
        self.progress.stage("tiles", lambda: stop - first)
        for start in range(first, stop, STEP_TILES):
            until = min(start + STEP_TILES, stop)
            self._fold(leaves, start, until)
            if until < stop:
                for bundle in new_entry_bundles(checked_size, leaves.tree_size):
                    self._check_entry_bundle(bundle)
                checked_size = leaves.tree_size
                if not self.damaged:
                    self.mirror.remember_audit(checked_size, tuple(leaves.peaks))
        return checked_size

    def _fold(self, leaves: CompactRange, first: int, stop: int) -> None:
        for index, root in zip(range(first, stop), self._roots(first, stop), strict=True):
            expected = self._expected_root(index)
            if root is None:
                self.damaged.append(Tile(0, index).path)
            elif expected is not None and root != expected:
                self.damaged.append(f"{Tile(0, index).path} (another tile's bytes)")
            leaves.append(Hash(root or bytes(HASH_BYTES)), HEIGHT)
            self.tiles += 1
            self.progress(1)

    def fold_partial_tile(self, leaves: CompactRange) -> None:
        """Append the leaves of the last tile, if it is not full."""
        edge = [tile for tile in edge_tiles(self.size) if tile.level == 0]
        for tile in edge:
            data = self._load(tile)
            if data is not None:
                leaves.extend(
                    Hash(data[at : at + HASH_BYTES]) for at in range(0, len(data), HASH_BYTES)
                )
                self.tiles += 1

    def check_entry_bundles(self, from_size: int) -> None:
        """Compare stored entry bundles with the leaf hashes of their tiles."""
        self.progress.stage(
            "entry bundles", lambda: self.mirror.count_entry_bundles(from_size // WIDTH)
        )
        for bundle in new_entry_bundles(from_size, self.size):
            self.progress(self._check_entry_bundle(bundle))

    def _check_entry_bundle(self, bundle: EntryBundle) -> int:
        """Compare an entry bundle with its tile, if it is here; return how many that were."""
        if not self.mirror.has_entry_bundle(bundle):
            return 0
        try:
            data = self.mirror.read_entry_bundle(bundle)
            hashes = leaf_hashes(parse_entry_bundle(data, bundle))
            whole = hashes == self.mirror.read_tiles([bundle.tile])[bundle.tile]
        except ApplianceError:
            whole = False
        if not whole:
            self.damaged.append(bundle.path)
        self.entry_bundles += 1
        return 1

    def _load(self, tile: Tile) -> bytes | None:
        try:
            self.tree.load([tile], self.mirror.read_tiles)
        except ApplianceError:
            self.damaged.append(tile.path)
            return None
        return self.tree.tile(tile)

    def _expected_root(self, index: int) -> Hash | None:
        node = NodeId(HEIGHT, index)
        above = self.tree.node_tile(node)
        if not self.tree.has(above):
            self.tree.trim()
            if above.path in self.damaged or self._load(above) is None:
                return None
        return self.tree.node(node)

    def _roots(self, first: int, stop: int) -> Iterator[Hash | None]:
        """Yield the root of each full level 0 tile in order; None for a damaged blob."""
        chunks = (
            range(start, min(start + CHUNK_TILES, stop))
            for start in range(first, stop, CHUNK_TILES)
        )
        blobs = str(self.mirror.store.blobs.root)
        tiles = (StoredTiles(blobs, self.mirror.tile_digests(0, chunk)) for chunk in chunks)
        with Workers(self.jobs) as workers:
            for _, roots in workers.map(stored_roots, tiles):
                yield from roots
