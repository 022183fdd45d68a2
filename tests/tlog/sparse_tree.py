"""Trees of any size for nothing: the leaves spell the Thue-Morse sequence.

Leaf i depends only on whether i has an odd number of one bits, so a perfect node of a
given height has one of two values, and neighbours differ often enough that swapping
them is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.tlog.merkle import Hash, TreeHead, leaf_hash, node_hash
from appliance.tlog.proof import NodeId, range_root
from appliance.tlog.tile import HEIGHT, WIDTH, Tile


class SparseTree:
    """Any tree up to 2^63 - 1 leaves; `salt` makes another one."""

    def __init__(self, salt: str = "") -> None:
        self._nodes = [(leaf_hash(f"even{salt}".encode()), leaf_hash(f"odd{salt}".encode()))]
        for _ in range(62):
            even, odd = self._nodes[-1]
            self._nodes.append((node_hash(even, odd), node_hash(odd, even)))
        self._tiles: dict[Tile, bytes] = {}  # those asked for so far

    def node(self, node: NodeId) -> Hash:
        """Return the hash of a perfect node."""
        return self._nodes[node.height][node.index.bit_count() & 1]

    def head(self, tree_size: int) -> TreeHead:
        """Return the head of the first `tree_size` leaves."""
        return TreeHead(tree_size, range_root(range(tree_size), self.node))

    def tile(self, tile: Tile) -> bytes:
        """Return the bytes of one tile."""
        if tile not in self._tiles:
            first = tile.index * WIDTH
            self._tiles[tile] = b"".join(
                self.node(NodeId(HEIGHT * tile.level, index))
                for index in range(first, first + tile.width)
            )
        return self._tiles[tile]

    def tiles(self, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        """Return these tiles."""
        return {tile: self.tile(tile) for tile in wanted}
