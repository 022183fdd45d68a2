"""Tiles authenticated, one by one, under a tree head.

The partial tiles of a tree hold its peaks, so together they hash to its root, every byte
of them. A full tile's hashes have one root, and that is a hash of the tile above. So each
tile is authenticated by its parent, and the topmost by the tree head. There is no other
way for a hash to get into a proof here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from appliance.errors import IncompleteError, MalformedError, ProofError
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead, fold_peaks, perfect_levels
from appliance.tlog.proof import (
    NodeId,
    build_proof,
    consistency_plan,
    inclusion_plan,
    perfect_nodes,
    range_root,
)
from appliance.tlog.tile import HEIGHT, WIDTH, Tile, edge_tiles, full_tile_count, tile_at

ReadTiles = Callable[[Sequence[Tile]], Mapping[Tile, bytes]]


class TileTree:
    """One tree, seen through tiles that nobody trusts until they are authenticated here."""

    def __init__(self, head: TreeHead) -> None:
        self.head = head
        # Authenticated, by (level, index): a tile's hashes, and those of the perfect nodes above
        # them inside it, height by height. What authenticates a tile is what proofs are made of.
        self._tiles: dict[tuple[int, int], list[bytes]] = {}
        self.edge = edge_tiles(head.tree_size)  # partial: must be added first and together

    def add_edge(self, data: Mapping[Tile, bytes]) -> None:
        """Authenticate the tiles of `edge` against the tree head.

        Raises MalformedError for a tile of the wrong length, ProofError if together
        they do not hash to the root.
        """
        tiles = {tile: _sized(tile, data[tile]) for tile in self.edge}
        parts = {tile: _perfect_parts(tile, tiles[tile]) for tile in self.edge}
        root = fold_peaks([Hash(part[-1]) for tile in self.edge for part in parts[tile]])
        if root != self.head.root_hash:
            raise ProofError(
                f"right edge of tree {self.head.tree_size} ({', '.join(t.path for t in tiles)}): "
                f"expected root {self.head.root_hash.hex()}, got {root.hex()}",
                reason="tile",
            )
        for tile in tiles:
            # The larger are to the left, so side by side they are the perfect nodes of a height.
            heights = range(max(map(len, parts[tile])))
            self._tiles[tile.level, tile.index] = [
                b"".join(part[height] for part in parts[tile] if height < len(part))
                for height in heights
            ]

    def add(self, tile: Tile, data: bytes) -> None:
        """Authenticate one full tile against its parent, which must have been added.

        Raises MalformedError for a wrong length and ProofError if it is not the tile that
        the parent names. A caller's bug: LookupError if the parent is not here, ValueError
        for a tile that is partial or beyond the tree.
        """
        expected = self.expected_root(tile)
        levels = perfect_levels(_sized(tile, data))
        root = levels[-1]
        if root != expected:
            raise ProofError(
                f"{tile.path}: expected root {expected.hex()}, got {root.hex()}", reason="tile"
            )
        self._tiles[tile.level, tile.index] = levels

    def has(self, tile: Tile) -> bool:
        """Whether the tile at this place is authenticated."""
        return (tile.level, tile.index) in self._tiles

    def has_parent(self, tile: Tile) -> bool:
        """Whether the tile above a full one is authenticated, so that it may be added."""
        return (tile.level + 1, tile.index // WIDTH) in self._tiles

    def trim(self) -> None:
        """Drop all tiles but the edge, so that a long job stays small; load brings them back."""
        edge = {(tile.level, tile.index) for tile in self.edge}
        self._tiles = {place: data for place, data in self._tiles.items() if place in edge}

    def keep(self, most: int) -> None:
        """Drop tiles if there are more than that: those of entries before those above them."""
        if len(self._tiles) > most:
            edge = {(tile.level, tile.index) for tile in self.edge}
            kept = {place: it for place, it in self._tiles.items() if place[0] or place in edge}
            self._tiles = kept
        if len(self._tiles) > most:
            self.trim()

    def tile(self, tile: Tile) -> bytes:
        """Return the authenticated tile at this place, as wide as this tree has it.

        Raises LookupError if it is not here.
        """
        return self._tiles[tile.level, tile.index][0]

    def parents(self, tile: Tile) -> tuple[Tile, ...]:
        """List the tiles that authenticate `tile`, topmost first, `tile` itself last."""
        chain = [tile]
        while chain[-1].is_full:
            chain.append(self._above(chain[-1]))
        return tuple(reversed(chain))

    def _above(self, tile: Tile) -> Tile:
        """Return the tile that holds what a full tile hashes to; there always is one."""
        return tile_at(tile.level + 1, tile.index // WIDTH, self.head.tree_size)

    def load(self, tiles: Iterable[Tile], read: ReadTiles) -> None:
        """Read and authenticate `tiles` and all that their authentication needs.

        One read for the edge, then one a level. Raises what `read`, `add_edge` and
        `add` raise, and IncompleteError for a tile that `read` leaves out.
        """
        if not all(map(self.has, self.edge)):
            self.add_edge(_read_all(self.edge, read))
        wanted: set[Tile] = set()
        for tile in tiles:
            self._want(tile, wanted)
        for level in sorted({tile.level for tile in wanted}, reverse=True):
            row = sorted(tile for tile in wanted if tile.level == level)
            for tile, data in _read_all(row, read).items():
                self.add(tile, data)

    def _want(self, tile: Tile, wanted: set[Tile]) -> None:
        """Add `tile` and those above it, up to one that is authenticated or wanted already."""
        self._verify_inside(tile)
        while tile not in wanted and not self.has(tile):
            wanted.add(tile)
            if not tile.is_full:
                return
            tile = self._above(tile)

    def node_tile(self, node: NodeId) -> Tile:
        """Return the tile that holds the hashes a perfect node is made of.

        Raises ValueError if the tree does not hold the whole node.
        """
        if node.index < 0 or (node.index + 1) << node.height > self.head.tree_size:
            raise ValueError(f"a tree of {self.head.tree_size} leaves has no {node}")
        level = node.height // HEIGHT
        first = node.index << (node.height % HEIGHT)
        return tile_at(level, first // WIDTH, self.head.tree_size)

    def node(self, node: NodeId) -> Hash:
        """Return the hash of a perfect node, from tiles that are authenticated.

        Raises LookupError if its tile is not here, ValueError as node_tile does.
        """
        if node.index < 0 or (node.index + 1) << node.height > self.head.tree_size:
            raise ValueError(f"a tree of {self.head.tree_size} leaves has no {node}")
        level, height = divmod(node.height, HEIGHT)  # height: above the tile's own hashes
        index, place = divmod(node.index, WIDTH >> height)
        start = place * HASH_BYTES
        return Hash(self._tiles[level, index][height][start : start + HASH_BYTES])

    def _verify_inside(self, tile: Tile) -> None:
        if tile.is_full and tile.index >= full_tile_count(tile.level, self.head.tree_size):
            raise ValueError(f"a tree of {self.head.tree_size} leaves has no {tile.path}")

    def expected_root(self, tile: Tile) -> Hash:
        """Return what a full tile has to hash to; raises what `add` raises for callers' bugs."""
        if not tile.is_full:
            raise ValueError(f"{tile.path} belongs to the edge")
        self._verify_inside(tile)
        index, place = divmod(tile.index, WIDTH)
        start = place * HASH_BYTES
        return Hash(self._tiles[tile.level + 1, index][0][start : start + HASH_BYTES])

    def prove_inclusion(self, entry_index: int, read: ReadTiles) -> tuple[Hash, ...]:
        """Build the inclusion proof of an entry; raises what load raises."""
        return self._prove(inclusion_plan(entry_index, self.head.tree_size), read)

    def prove_consistency(self, old_size: int, read: ReadTiles) -> tuple[Hash, ...]:
        """Build the consistency proof from an older size; raises what load raises."""
        return self._prove(consistency_plan(old_size, self.head.tree_size), read)

    def root_at(self, tree_size: int, read: ReadTiles) -> Hash:
        """Return the root this tree had at a size up to its own; raises what load raises."""
        if not 0 <= tree_size <= self.head.tree_size:
            raise ValueError(f"a tree of {self.head.tree_size} leaves never had {tree_size}")
        if tree_size == self.head.tree_size:
            return self.head.root_hash
        leaves = range(tree_size)
        self.load((self.node_tile(node) for node in perfect_nodes(leaves)), read)
        return range_root(leaves, self.node)

    def leaf(self, entry_index: int, read: ReadTiles) -> Hash:
        """Return the leaf hash of an entry; raises what load raises."""
        node = NodeId(0, entry_index)
        self.load([self.node_tile(node)], read)
        return self.node(node)

    def _prove(self, plan: Sequence[range], read: ReadTiles) -> tuple[Hash, ...]:
        nodes = [node for leaves in plan for node in perfect_nodes(leaves)]
        places = dict.fromkeys(
            (node.height // HEIGHT, node.index >> (HEIGHT - node.height % HEIGHT)) for node in nodes
        )
        size, lacking = self.head.tree_size, [one for one in places if one not in self._tiles]
        self.load([tile_at(level, index, size) for level, index in lacking], read)
        return build_proof(plan, self.node)


def _read_all(wanted: Sequence[Tile], read: ReadTiles) -> dict[Tile, bytes]:
    """Read exactly `wanted`, whatever else comes along."""
    data = read(wanted)
    missing = [tile.path for tile in wanted if tile not in data]
    if missing:
        raise IncompleteError(f"the source left out {', '.join(missing)}")
    return {tile: data[tile] for tile in wanted}


def _sized(tile: Tile, data: bytes) -> bytes:
    if len(data) != tile.width * HASH_BYTES:
        raise MalformedError(
            f"{tile.path}: expected {tile.width * HASH_BYTES} bytes, got {len(data)}",
            reason="tile-width",
        )
    return data


def _perfect_parts(tile: Tile, data: bytes) -> list[list[bytes]]:
    """Cut a partial tile into perfect subtrees, the largest first; return the levels of each."""
    parts, start = [], 0
    for bit in reversed(range(HEIGHT)):
        if tile.width >> bit & 1:
            end = start + (HASH_BYTES << bit)
            parts.append(perfect_levels(data[start:end]))
            start = end
    return parts
