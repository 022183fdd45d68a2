"""How a tree grows: from its right edge and new entries to new tiles and a new head.

Only arithmetic. Which entries come next, and when anything of this becomes durable, is
the business of whoever operates the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from appliance.errors import ProofError
from appliance.tlog.compact_range import CompactRange
from appliance.tlog.entries import format_entry_bundle, leaf_hashes
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead, leaf_hash, perfect_root
from appliance.tlog.proof import perfect_nodes
from appliance.tlog.tile import HEIGHT, WIDTH, EntryBundle, Tile, edge_tiles, tile_at
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen


@frozen
class Edge:
    """All that is needed of a tree to append to it. Nothing of it is trusted but the head.

    Unless it is what this process itself has just appended: then it has the tree as well.
    """

    head: TreeHead
    tiles: Mapping[Tile, bytes]  # its partial tiles, as edge_tiles lists them
    entries: tuple[bytes, ...]  # those of its partial entry bundle, if it has one
    tree: TileTree | None = None  # of the head, which these tiles and entries are authenticated by


@frozen
class Growth:
    """What a tree has after it grew and had not before; wider tiles replace narrower tiles."""

    head: TreeHead
    tiles: dict[Tile, bytes]
    entry_bundles: dict[EntryBundle, bytes]

    def edge(self, before: Edge, entries: Sequence[bytes]) -> Edge:
        """Return the edge of the tree that `before` grew to by `entries`.

        Its tree has every tile that proves one of them.
        """
        tiles = {**before.tiles, **self.tiles}
        tree = TileTree(self.head)
        tree.load(self.tiles, lambda _: tiles)
        size = self.head.tree_size
        together = [*before.entries, *entries]
        left = tuple(together[len(together) - size % WIDTH :])
        return Edge(self.head, {tile: tiles[tile] for tile in edge_tiles(size)}, left, tree)


def grow(edge: Edge, entries: Sequence[bytes]) -> Growth:
    """Append `entries` to the tree that ends in `edge`.

    Raises ProofError or MalformedError unless the edge is that of its own head, and
    ValueError for an entry over 65,535 bytes.
    """
    size = edge.head.tree_size
    tree = edge.tree or _authenticated(edge)
    leaves = [leaf_hash(entry) for entry in entries]
    grown = CompactRange(size, [tree.node(node) for node in perfect_nodes(range(size))])
    grown.extend(leaves)
    tiles = _new_tiles(tree, leaves, grown.tree_size)
    return Growth(grown.head, tiles, _new_entry_bundles(edge, entries))


def _authenticated(edge: Edge) -> TileTree:
    size = edge.head.tree_size
    tree = TileTree(edge.head)
    tree.load([], lambda _: edge.tiles)
    last = EntryBundle(size // WIDTH, size % WIDTH) if size % WIDTH else None
    if leaf_hashes(edge.entries) != (tree.tile(last.tile) if last else b""):
        raise ProofError(
            f"the last {len(edge.entries)} entries of tree {size} do not have its leaf hashes",
            reason="entry-bundle",
        )
    return tree


def _new_tiles(tree: TileTree, leaves: Sequence[Hash], new_size: int) -> dict[Tile, bytes]:
    """Cut the new hashes of each level, after the partial tile there was, into tiles."""
    tiles = {}
    level = 0
    hashes = b"".join(leaves)
    while hashes:
        first, width = divmod(tree.head.tree_size >> (HEIGHT * level), WIDTH)
        if width:
            hashes = tree.tile(Tile(level, first, width)) + hashes
        parents = []
        for start in range(0, len(hashes), WIDTH * HASH_BYTES):
            index = first + start // (WIDTH * HASH_BYTES)
            tile = tile_at(level, index, new_size)
            tiles[tile] = hashes[start : start + WIDTH * HASH_BYTES]
            if tile.is_full:
                parents.append(perfect_root(tiles[tile]))
        hashes = b"".join(parents)
        level += 1
    return tiles


def _new_entry_bundles(edge: Edge, entries: Sequence[bytes]) -> dict[EntryBundle, bytes]:
    if not entries:
        return {}
    together = [*edge.entries, *entries]
    first = edge.head.tree_size // WIDTH
    bundles = {}
    for start in range(0, len(together), WIDTH):
        part = together[start : start + WIDTH]
        bundles[EntryBundle(first + start // WIDTH, len(part))] = format_entry_bundle(part)
    return bundles
