"""One log of a transfer bundle as a LogSource: import is sync from here.

The transfer bundle's digests were checked already; that says what the exporter sent, not
that any of it is true. Absorbing it authenticates it like anything from a server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

from appliance.errors import IncompleteError
from appliance.jobs.local_tiles import load_parents
from appliance.jobs.mirror.fill import Place
from appliance.jobs.transfer.consistency_member import (
    consistency_member,
    parse_consistency_member,
)
from appliance.jobs.transfer.offered import Places
from appliance.jobs.transfer.staged_tiles import StagedTile, StagedTiles
from appliance.store.mirror.entry_frames import decompress_bundle
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.merkle import Hash
from appliance.tlog.tile import EntryBundle, Tile, parse_entry_bundle_path, parse_tile_path
from appliance.tlog.tile_tree import TileTree
from bundles.manifest import LogPart
from bundles.reader import TransferBundle

ENTRIES_SUFFIX = ".zst"
NOT_IN_BUNDLE = "not-in-bundle"  # a reason


def checkpoint_member(part_directory: str) -> str:
    """Return the member that holds a log's checkpoint."""
    return f"{part_directory}/checkpoint"


def seen_directory(part_directory: str) -> str:
    """Return where checkpoints of a log stand that were seen elsewhere."""
    return f"{part_directory}/checkpoints"


def tile_member(part_directory: str, tile: Tile) -> str:
    """Return the member that holds a tile."""
    return f"{part_directory}/{tile.path}"


def entries_member(part_directory: str, bundle: EntryBundle) -> str:
    """Return the member that holds an entry bundle, zstd-compressed."""
    return f"{part_directory}/{bundle.path}{ENTRIES_SUFFIX}"


class TransferSource:
    """Implements LogSource over the members of a checked transfer bundle."""

    def __init__(
        self,
        bundle: TransferBundle,
        part: LogPart,
        description: str,
        staged: StagedTiles | None = None,
    ) -> None:
        self._bundle = bundle
        self._part = part
        self._directory = part.directory  # hashed once: it is asked for with every tile
        self._description = description
        self._staged = staged
        self._proofs: dict[int, tuple[Hash, ...]] | None = None  # of a log without tiles
        self._offered: tuple[Places[Tile], Places[EntryBundle]] | None = None

    @property
    def description(self) -> str:
        """The file's name and the bundle's id."""
        return self._description

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Which transfer bundle it is, and who wrote it."""
        return {"transferBundle": self._bundle.header.bundle_id, "site": self._bundle.manifest.site}

    def checkpoint(self) -> bytes:
        """Return the log's own signed note for the head of the transfer bundle."""
        return self._read(checkpoint_member(self._directory))

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield tiles; a level 0 tile left out for its entry bundle is computed from it."""
        for tile in wanted:
            member = tile_member(self._directory, tile)
            if member not in self._bundle.members and self.has(tile):
                bundle = EntryBundle(tile.index, tile.width)
                yield tile, leaf_hashes(parse_entry_bundle(self._entries(bundle), bundle))
            else:
                yield tile, self._read(member)

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield entry bundles, decompressed under a bound."""
        for bundle in wanted:
            yield bundle, self._entries(bundle)

    @property
    def has_entries(self) -> bool:
        """Whether there is any entry bundle; mostly there is none, and nothing to look for."""
        return len(self.offered()[1]) > 0

    def offered_count(self) -> int:
        """Count the tiles and entry bundles here, with the tiles that follow from these."""
        tiles, bundles = self.offered()
        return len(tiles) + len(bundles)

    def offered(self) -> tuple[Places[Tile], Places[EntryBundle]]:
        """List what is here, with the tiles that follow from entry bundles, parents first.

        Raises MalformedError if a member below tile/ is neither.
        """
        if self._offered is None:
            self._offered = self._list_offered()
        return self._offered

    def _list_offered(self) -> tuple[Places[Tile], Places[EntryBundle]]:
        prefix = f"{self._directory}/"
        tiles = Places(Tile)
        bundles = Places(lambda _, index, width: EntryBundle(index, width))
        for path in self._bundle.members.below(f"{prefix}tile/"):
            name = path.removeprefix(prefix)
            if name.startswith("tile/entries/"):
                bundle = parse_entry_bundle_path(name.removesuffix(ENTRIES_SUFFIX))
                bundles.add(0, bundle.index, bundle.width)
            else:
                tile = parse_tile_path(name)
                tiles.add(tile.level, tile.index, tile.width)
        tiles.settle()
        bundles.settle()
        tiles.join(bundles)
        return tiles, bundles

    def has(self, what: Tile | EntryBundle) -> bool:
        """Whether a tile or entry bundle of exactly this width can be had from here."""
        members = self._bundle.members
        if isinstance(what, EntryBundle):
            return self.has_entries and entries_member(self._directory, what) in members
        if tile_member(self._directory, what) in members:
            return True
        return (
            self.has_entries and what.level == 0 and self.has(EntryBundle(what.index, what.width))
        )

    @property
    def place(self) -> Place | None:
        """What has tiles placed by other processes, if there are any."""
        return partial(self._place, self._staged) if self._staged else None

    def _place(
        self,
        staged: StagedTiles,
        mirror: Mirror,
        tree: TileTree,
        batches: Iterable[list[Tile]],
    ) -> Iterator[tuple[list[Tile], Mapping[Tile, bytes]]]:
        rest = iter(batches)
        for batch in rest:
            if batch[0].level == 0:
                rest = chain([batch], rest)
                break
            yield batch, {}  # few, and the tiles below wait for them
        asked: deque[list[Tile]] = deque()

        def right_ones() -> Iterator[list[StagedTile | None]]:
            for batch in rest:
                asked.append(batch)
                load_parents(mirror, tree, batch)
                yield [self._right_one(staged, tree, tile) for tile in batch]

        for answers in staged.place(mirror.store, right_ones()):
            batch = asked.popleft()
            answered = zip(batch, answers, strict=True)
            yield batch, {tile: placed for tile, placed in answered if placed is not None}

    def _right_one(self, staged: StagedTiles, tree: TileTree, tile: Tile) -> StagedTile | None:
        """Return where a tile stands if it is the one that its parent names."""
        member = self._bundle.members.get(tile_member(self._directory, tile))
        if member is None or not tile.is_full:
            return None
        try:
            expected = tree.expected_root(tile)
        except LookupError:  # what is above it is neither here nor in this bundle
            return None
        if staged.root(member.offset) != expected:
            return None
        return StagedTile(member.offset, member.sha256)

    def _entries(self, bundle: EntryBundle) -> bytes:
        return decompress_bundle(self._read(entries_member(self._directory, bundle)))

    def _read(self, member: str) -> bytes:
        if member not in self._bundle.members:
            raise IncompleteError(
                f"{self._description} has no {member} for {self._part.origin}",
                reason=NOT_IN_BUNDLE,
                next_step="export again with --base all, or --base and the tree size that is here",
            )
        return self._bundle.read(member)


class ProvingTransferSource(TransferSource):
    """Implements ProvingSource: of a log without tiles a transfer bundle brings proofs."""

    @property
    def bundle(self) -> TransferBundle:
        """The transfer bundle itself, for what else it has of the log."""
        return self._bundle

    @property
    def proofs(self) -> Mapping[int, tuple[Hash, ...]]:
        """The proofs it brings, by the size they start at; raises IncompleteError for none."""
        if self._proofs is None:
            data = self._read(consistency_member(self._directory))
            self._proofs = parse_consistency_member(data)
        return self._proofs

    def consistency(self, old_size: int, new_size: int) -> tuple[Hash, ...]:
        """Return the proof to its head that it brings; raises IncompleteError if it has none."""
        found = self.proofs.get(old_size)
        if found is None or new_size != self._part.head.tree_size:
            raise IncompleteError(
                f"{self._description} does not prove {self._part.origin} from {old_size:,} to"
                f" {new_size:,} entries",
                reason=NOT_IN_BUNDLE,
                next_step="export again with --base SIZE of what this site holds",
            )
        return found
