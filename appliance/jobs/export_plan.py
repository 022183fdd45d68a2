"""Plan an export: what of one log has to leave, as members of the format.

Digests come from rows, so nothing is read twice. Of everything beyond the tiles that prove
the head it is known which tiles above it authenticate it, for volumes that stand alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final

from appliance.errors import IncompleteError
from appliance.jobs.export_base import BaseChoice, choose_base, mirror_root
from appliance.jobs.transfer_source import checkpoint_member, entries_member, tile_member
from appliance.store.checkpoints import AcceptedCheckpoint
from appliance.store.entry_frames import compress_bundle
from appliance.store.mirror import Mirror
from appliance.store.transfers import exported_heads
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead
from appliance.tlog.proof import NodeId, consistency_plan, inclusion_plan, perfect_nodes
from appliance.tlog.tile import WIDTH, EntryBundle, Tile, edge_tiles, new_entry_bundles, new_tiles
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen
from bundles.manifest import TreeHeadRef, log_directory
from bundles.writer import Member

Item = Tile | EntryBundle
MAX_STANDS: Final = 4  # sizes of earlier exports that every export proves itself from
_TILES_AT_ONCE: Final = 1024  # rows of one query


@frozen
class PlannedLog:
    """What leaves of one log."""

    origin: str
    vkeys: tuple[str, ...]
    base: TreeHeadRef | None
    head: AcceptedCheckpoint
    checkpoint: Member
    proof: frozenset[Tile]  # prove the head from the base
    items: tuple[Item, ...]  # what else: tiles top down, then entry bundles
    member: Callable[[Item], Member]
    above: Callable[[Item], tuple[Tile, ...]]  # the tiles that authenticate it
    warnings: tuple[str, ...] = ()


@frozen
class ProvenEntry:
    """An entry that somebody on the far side has a Sigstore bundle of."""

    origin: str
    entry_index: int
    tree_size: int  # of the checkpoint in that bundle; 0: it has none
    leaf: Hash  # of the entry that is in that bundle
    note: bytes  # that checkpoint


@frozen
class Contents:
    """What to take of each log."""

    tiles: bool = True  # hash tiles beyond those that prove the head
    entries: bool = False  # entry bundles as well
    proven: tuple[ProvenEntry, ...] | None = None  # only what proves these; None: all


def plan_log(mirror: Mirror, choice: BaseChoice, contents: Contents, besides: str) -> PlannedLog:
    """Plan what leaves of one log, up to the head its mirror covers.

    `besides` is a volume set that is made again. Raises IncompleteError if there is nothing
    to export, or an entry that is to be proven is not covered; ConfigError if the base is
    beyond the head.
    """
    head = require_head(mirror)
    base = choose_base(mirror, head, choice, besides)
    start, stop = base.tree_size or 0, head.head.tree_size
    directory = log_directory(mirror.log.origin)
    tree = TileTree(head.head)
    # Where the far side stands between base and head nobody knows: mostly where one of the
    # last exports brought it.
    stands = exported_heads(mirror.store, mirror.log.origin, stop, MAX_STANDS)
    proof = proof_tiles(head.head, {start, *(size for size in stands if size > start)})
    tiles: Iterable[Tile] = new_tiles(start, stop) if contents.tiles else ()
    bundles = list(new_entry_bundles(start, stop)) if contents.entries else []
    if contents.proven is not None:
        wanted = [one for one in contents.proven if one.origin == mirror.log.origin]
        _require_covered(mirror, wanted, stop)
        bundles = _bundles_of(wanted, stop) if contents.entries else []
        tiles = _proving(tree, wanted)
    implied = {bundle.tile for bundle in bundles}
    items = [tile for tile in tiles if tile not in proof and tile not in implied]
    return PlannedLog(
        origin=mirror.log.origin,
        vkeys=tuple(key.vkey for key in mirror.log.keys),
        base=TreeHeadRef(start, mirror_root(mirror, head, start)) if start else None,
        head=head,
        checkpoint=in_memory(checkpoint_member(directory), head.note),
        proof=frozenset(proof),
        items=(*top_down(items), *bundles),
        member=_Members(mirror, directory).member,
        above=lambda item: tree.parents(item.tile if isinstance(item, EntryBundle) else item),
        warnings=base.warnings,
    )


def require_head(mirror: Mirror) -> AcceptedCheckpoint:
    """Return the head that is exported; raises IncompleteError if there is none."""
    head = mirror.history.mirror_checkpoint() or mirror.history.accepted()
    if head is None:
        raise IncompleteError(
            f"nothing of {mirror.log.origin} is here to export",
            reason="nothing-to-export",
            next_step="run 'attestor sync' first",
        )
    return head


def top_down(tiles: Iterable[Tile]) -> list[Tile]:
    """Order tiles so that each comes after those that authenticate it."""
    return sorted(tiles, key=lambda tile: (-tile.level, tile.index))


def proof_tiles(head: TreeHead, sizes: Iterable[int]) -> set[Tile]:
    """Return the tiles that let the far side prove the head from trees of these sizes."""
    wanted = set(edge_tiles(head.tree_size))
    tree = TileTree(head)
    for size in sizes:
        for leaves in (range(size), *consistency_plan(size, head.tree_size)):
            for node in perfect_nodes(leaves):
                wanted.update(tree.parents(tree.node_tile(node)))
    return wanted


def in_memory(path: str, data: bytes) -> Member:
    """Describe a member that is small and here already."""
    return Member(path, len(data), sha256(data).digest(), lambda: data)


def _require_covered(mirror: Mirror, wanted: Iterable[ProvenEntry], tree_size: int) -> None:
    for one in wanted:
        reaches = max(one.entry_index + 1, one.tree_size)
        if reaches > tree_size:
            raise IncompleteError(
                f"the Sigstore bundle speaks of {mirror.log.origin} at {reaches} entries, the"
                f" mirror has {tree_size}",
                reason="not-covered",
                next_step="run 'attestor sync --full-tiles' first",
            )


def _bundles_of(wanted: Iterable[ProvenEntry], tree_size: int) -> list[EntryBundle]:
    return [
        EntryBundle(index, min(WIDTH, tree_size - index * WIDTH))
        for index in sorted({one.entry_index // WIDTH for one in wanted})
    ]


def _proving(tree: TileTree, wanted: Iterable[ProvenEntry]) -> set[Tile]:
    """Return the tiles that prove entries, and the tree heads they were proven under before."""
    tiles: set[Tile] = set()
    for one in wanted:
        nodes = [NodeId(0, one.entry_index)]
        if one.tree_size <= tree.head.tree_size:
            nodes += perfect_nodes(range(one.tree_size))
        for leaves in inclusion_plan(one.entry_index, tree.head.tree_size):
            nodes += perfect_nodes(leaves)
        for node in nodes:
            tiles.update(tree.parents(tree.node_tile(node)))
    return tiles


class _Members:
    """Describes what is stored of one log as members; finds full tiles many at a time."""

    def __init__(self, mirror: Mirror, directory: str) -> None:
        self._mirror = mirror
        self._directory = directory
        self._read = mirror.store.blobs.get
        self._full_tiles = lru_cache(maxsize=8)(self._find_full_tiles)

    def member(self, item: Item) -> Member:
        """Describe one item; what is stored wider than the exported tree is cut now."""
        if isinstance(item, EntryBundle):
            path = entries_member(self._directory, item)
            packed = self._mirror.entry_bundle_blob(item)
            if packed is None:
                return in_memory(path, compress_bundle(self._mirror.read_entry_bundle(item)))
            return Member(path, packed[1], packed[0], partial(self._read, packed[0]))
        path = tile_member(self._directory, item)
        stored = self._digest(item)
        if stored is None:
            return in_memory(path, self._mirror.read_tiles([item])[item])
        return Member(path, item.width * HASH_BYTES, stored, partial(self._read, stored))

    def _digest(self, tile: Tile) -> bytes | None:
        if tile.is_full:
            block, place = divmod(tile.index, _TILES_AT_ONCE)
            if found := self._full_tiles(tile.level, block)[place]:
                return found
        return self._mirror.tile_digest(tile)

    def _find_full_tiles(self, level: int, block: int) -> list[bytes | None]:
        first = block * _TILES_AT_ONCE
        return self._mirror.tile_digests(level, range(first, first + _TILES_AT_ONCE))
