"""CVE-2026-56865: forge each tile that a proof reads, one at a time; none may be believed.

An implementation that authenticates peaks and then skips
as many tiles as there are peaks lets through forged ones wherever two peaks share a
tile. So: many tree sizes, every tile that any question reads, several ways of forging.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from appliance.errors import ProofError, VerificationError
from appliance.tlog.merkle import TreeHead
from appliance.tlog.proof import verify_consistency, verify_inclusion
from appliance.tlog.tile import WIDTH, Tile, edge_tiles, tile_at
from appliance.tlog.tile_tree import ReadTiles, TileTree
from tests.tlog.sparse_tree import SparseTree

HONEST, OTHER = SparseTree(), SparseTree("other")
Question = Callable[[TileTree, ReadTiles], object]


def questions(size: int, chance: random.Random) -> Iterator[Question]:
    """Yield an inclusion proof, a consistency proof, an older root and a leaf to ask for."""
    index = chance.choice([0, size - 1, chance.randrange(size)])
    old_size = chance.choice([1, chance.randint(1, size)])
    yield lambda tree, read: tree.prove_inclusion(index, read)
    yield lambda tree, read: tree.prove_consistency(old_size, read)
    yield lambda tree, read: tree.root_at(old_size, read)
    yield lambda tree, read: tree.leaf(index, read)


def forgeries(tile: Tile, truth: bytes, chance: random.Random) -> Iterator[bytes]:
    """Yield wrong tiles: bits, whole hashes, swapped ones, others' ones, all others, none."""
    for position in (0, len(truth) - 1, chance.randrange(len(truth))):
        forged = bytearray(truth)
        forged[position] ^= 1 << chance.randrange(8)
        yield bytes(forged)
    start = 32 * chance.randrange(tile.width)
    yield truth[:start] + chance.randbytes(32) + truth[start + 32 :]
    yield truth[:start] + OTHER.tile(tile)[start : start + 32] + truth[start + 32 :]
    yield OTHER.tile(tile)
    yield bytes(len(truth))
    swapped = truth[32:64] + truth[:32] + truth[64:]
    if swapped != truth:
        yield swapped
    rotated = truth[32:] + truth[:32]
    if rotated != truth:
        yield rotated


class Forger:
    """Reads honest tiles, except one."""

    def __init__(self) -> None:
        self.forged: dict[Tile, bytes] = {}
        self.read: set[Tile] = set()

    def __call__(self, wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        self.read.update(wanted)
        return {tile: self.forged.get(tile) or HONEST.tile(tile) for tile in wanted}


def forge_each_tile(head: TreeHead, chance: random.Random) -> int:
    """Ask every question with every tile it reads forged in every way; return how many."""
    count = 0
    for question in questions(head.tree_size, chance):
        forger = Forger()
        question(TileTree(head), forger)  # the honest answer, to see which tiles it takes
        for tile in sorted(forger.read):
            truth = HONEST.tile(tile)
            for forged in forgeries(tile, truth, chance):
                assert forged != truth
                forger.forged = {tile: forged}
                with pytest.raises(ProofError) as caught:
                    question(TileTree(head), forger)
                assert caught.value.reason == "tile"
                assert tile.path in caught.value.message
                count += 1
    return count


def test_no_forged_tile_of_any_tree_up_to_600_leaves_is_believed() -> None:
    chance = random.Random(56865)  # noqa: S311
    sizes = [*range(1, 131), *range(131, 601, 2)]
    count = sum(forge_each_tile(HONEST.head(size), chance) for size in sizes)
    assert count > 20_000, count


def test_no_forged_tile_at_a_change_of_level_is_believed() -> None:
    chance = random.Random(65536)  # noqa: S311
    sizes = (65_535, 65_536, 65_537, 65_792, 131_072, 2**24 - 1, 2**24)
    count = sum(forge_each_tile(HONEST.head(size), chance) for size in sizes)
    assert count > 400, count


def test_no_forged_tile_of_a_large_tree_is_believed() -> None:
    chance = random.Random(2**24)  # noqa: S311
    sizes = [chance.randint(1, 2**24) for _ in range(20)]
    count = sum(forge_each_tile(HONEST.head(size), chance) for size in sizes)
    assert count > 2000, count


def test_no_forged_tile_of_a_tree_with_all_its_peaks_in_few_tiles_is_believed() -> None:
    # Sizes full of one bits: up to eight peaks share each edge tile, as the advisory needs.
    chance = random.Random(8)  # noqa: S311
    sizes = [255, 511, 4095, 65_535, 2**20 - 1, 2**40 - 1, 2**63 - 1]
    count = sum(forge_each_tile(HONEST.head(size), chance) for size in sizes)
    assert count > 1000, count


def test_two_forged_tiles_that_agree_with_each_other_are_not_believed() -> None:
    # The other tree's tiles are consistent among themselves; one honest ancestor betrays them.
    size = 2**24 + 70_000
    head = HONEST.head(size)
    for index in (0, 70_000, 2**24 + 300):
        chain = TileTree(head).parents(tile_at(0, index // WIDTH, size))
        for depth in range(1, len(chain) + 1):
            lying = set(chain[-depth:])

            def read(wanted: Sequence[Tile], lying: set[Tile] = lying) -> Mapping[Tile, bytes]:
                return {tile: (OTHER if tile in lying else HONEST).tile(tile) for tile in wanted}

            with pytest.raises(ProofError) as caught:
                TileTree(head).leaf(index, read)
            assert chain[-depth].path in caught.value.message


def test_an_honest_tile_from_another_place_is_not_believed() -> None:
    size = 70_000
    head = HONEST.head(size)
    for index in range(0, 273, 7):
        place = Tile(0, index)
        for elsewhere in (Tile(0, index + 1), Tile(1, 0)):
            if HONEST.tile(elsewhere)[: 256 * 32] == HONEST.tile(place):
                continue
            forger = Forger()
            forger.forged = {place: HONEST.tile(elsewhere)}
            if len(HONEST.tile(elsewhere)) == 8192:
                with pytest.raises(ProofError):
                    TileTree(head).leaf(index * 256, forger)


def test_no_tile_of_another_width_is_believed() -> None:
    for size in (1, 2, 255, 300, 600, 65_537, 70_000):
        head = HONEST.head(size)
        for tile in (*edge_tiles(size), *([Tile(0, 0)] if size > 256 else [])):
            truth = HONEST.tile(tile)
            for forged in (truth[:-32], truth + truth[:32], truth[:-1], truth + b"\0", truth[32:]):
                forger = Forger()
                forger.forged = {tile: forged or b"\0"}
                with pytest.raises(VerificationError) as caught:
                    TileTree(head).leaf(0, forger)
                assert caught.value.reason == "tile-width"


def test_honest_answers_of_every_size_verify() -> None:
    chance = random.Random(9162)  # noqa: S311
    for size in [*range(1, 601), 65_535, 65_536, 65_537, *(2**k - 1 for k in range(24, 64))]:
        head, tree = HONEST.head(size), TileTree(HONEST.head(size))
        index, old_size = chance.randrange(size), chance.randint(1, size)
        leaf = tree.leaf(index, HONEST.tiles)
        verify_inclusion(index, leaf, head, tree.prove_inclusion(index, HONEST.tiles))
        old = TreeHead(old_size, tree.root_at(old_size, HONEST.tiles))
        assert old == HONEST.head(old_size)
        verify_consistency(old, head, tree.prove_consistency(old_size, HONEST.tiles))
