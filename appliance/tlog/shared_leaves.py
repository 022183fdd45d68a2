"""How far two trees are the same: the last common point of two stories of one log."""

from __future__ import annotations

from appliance.errors import ApplianceError
from appliance.tlog.proof import NodeId, perfect_nodes
from appliance.tlog.tile_tree import ReadTiles, TileTree


def shared_leaves(
    ours: TileTree, theirs: TileTree, read_ours: ReadTiles, read_theirs: ReadTiles
) -> int:
    """Count the leading leaves that both trees are seen to share.

    Each side's tiles are authenticated under its own head. Where one cannot be had or does
    not authenticate, what was compared by then counts: the true number may be higher, never
    lower. Reads about one tile a level and side.
    """
    shared = 0
    waiting = list(reversed(perfect_nodes(range(min(ours.head.tree_size, theirs.head.tree_size)))))
    while waiting:
        node = waiting.pop()
        try:
            for tree, read in ((ours, read_ours), (theirs, read_theirs)):
                tree.load([tree.node_tile(node)], read)
        except ApplianceError:
            return shared
        if ours.node(node) == theirs.node(node):
            shared = (node.index + 1) << node.height
        elif node.height == 0:
            return shared
        else:
            # The first difference is below this node: what is right of it does not matter.
            left = NodeId(node.height - 1, 2 * node.index)
            waiting = [NodeId(left.height, left.index + 1), left]
    return shared
