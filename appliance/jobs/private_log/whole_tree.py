"""Recompute a tree from its entries, and compare every tile that lies beside them."""

from __future__ import annotations

from collections.abc import Callable

from appliance.errors import ProofError
from appliance.jobs.progress import SILENT, Progress
from appliance.tlog.compact_range import CompactRange
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead, perfect_root
from appliance.tlog.tile import HEIGHT, WIDTH, EntryBundle, Tile, new_entry_bundles, tile_at
from appliance.tlog.tile_tree import TileTree

Read = Callable[[Tile | EntryBundle], bytes]


def verify_whole_tree(read: Read, head: TreeHead, progress: Progress = SILENT) -> None:
    """Hash all entries of a tree up to its root, level by level, with each tile compared.

    What is in memory is a tile's width of each level. Raises ProofError naming the first
    tile, or the root, that is not what the entries make of it, and what reading raises.
    """
    size = head.tree_size
    leaves = CompactRange()
    levels: list[bytearray] = []

    def append(level: int, hashes: bytes) -> None:
        if level == len(levels):
            levels.append(bytearray())
        levels[level] += hashes
        if len(levels[level]) == WIDTH * HASH_BYTES:
            index = (leaves.tree_size >> (HEIGHT * (level + 1))) - 1
            full = _compared(read, Tile(level, index), bytes(levels[level]))
            levels[level].clear()
            append(level + 1, perfect_root(full))

    progress.stage("entry bundles", lambda: -(-size // WIDTH))
    for bundle in new_entry_bundles(0, size):
        hashes = leaf_hashes(parse_entry_bundle(read(bundle), bundle))
        if bundle.is_full:
            leaves.append(perfect_root(hashes), HEIGHT)
        else:
            leaves.extend(
                Hash(hashes[at : at + HASH_BYTES]) for at in range(0, len(hashes), HASH_BYTES)
            )
        append(0, hashes)
        progress(1)
    for level, rest in enumerate(levels):
        if rest:
            _compared(read, tile_at(level, (size >> (HEIGHT * level)) // WIDTH, size), bytes(rest))
    if leaves.head != head:
        raise ProofError(
            f"the {size:,} entries hash to root {leaves.head.root_hash.hex()}, expected"
            f" {head.root_hash.hex()}",
            reason="root",
        )


def root_of(read: Read, head: TreeHead, size: int) -> Hash:
    """Return the root of the first `size` leaves of a tree, from its authenticated tiles."""
    tree = TileTree(head)
    return tree.root_at(size, lambda tiles: {tile: read(tile) for tile in tiles})


def _compared(read: Read, tile: Tile, expected: bytes) -> bytes:
    if read(tile) != expected:
        raise ProofError(
            f"{tile.path} does not hold the hashes of the entries below it", reason="tile"
        )
    return expected
