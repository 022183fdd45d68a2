"""A tree grown batch by batch has the tiles, entry bundles and roots of one made at once."""

from __future__ import annotations

import pytest

from appliance.errors import MalformedError, ProofError
from appliance.tlog.entries import format_entry_bundle, parse_entry_bundle
from appliance.tlog.growth import Edge, Growth, grow
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead, as_hash, leaf_hash
from appliance.tlog.tile import (
    EntryBundle,
    Tile,
    edge_tiles,
    new_entry_bundles,
    new_tiles,
    tiles_of,
)
from tests.tlog.reference import tree_hash

NOTHING = Edge(TreeHead(0, EMPTY_ROOT), {}, ())


class _Grown:
    """All that a log has published, and the edge of it."""

    def __init__(self) -> None:
        self.tiles: dict[Tile, bytes] = {}
        self.bundles: dict[EntryBundle, bytes] = {}
        self.head = NOTHING.head

    def edge(self) -> Edge:
        size = self.head.tree_size
        tiles = {tile: self.tiles[tile] for tile in edge_tiles(size)}
        last = EntryBundle(size // 256, size % 256) if size % 256 else None
        entries = parse_entry_bundle(self.bundles[last], last) if last else ()
        return Edge(self.head, tiles, entries)

    def add(self, growth: Growth) -> None:
        self.tiles.update(growth.tiles)
        self.bundles.update(growth.entry_bundles)
        self.head = growth.head


def _entries(count: int, first: int = 0) -> list[bytes]:
    return [str(index).encode() for index in range(first, first + count)]


def test_every_small_tree_grown_from_every_smaller_one_has_its_root() -> None:
    for old in range(0, 34):
        grown = _Grown()
        grown.add(grow(NOTHING, _entries(old)))
        for new in range(old, 40):
            growth = grow(grown.edge(), _entries(new - old, old))
            assert growth.head == TreeHead(new, as_hash(tree_hash(_entries(new)))), (old, new)


@pytest.mark.parametrize("batches", [[1] * 3, [255, 1, 1], [256, 256], [300, 700, 1], [257] * 6])
def test_growing_yields_exactly_the_new_tiles(batches: list[int]) -> None:
    grown = _Grown()
    size = 0
    for batch in batches:
        growth = grow(grown.edge(), _entries(batch, size))
        assert set(growth.tiles) == set(new_tiles(size, size + batch))
        assert set(growth.entry_bundles) == set(new_entry_bundles(size, size + batch))
        grown.add(growth)
        size += batch
    once = grow(NOTHING, _entries(size))
    assert once.head == grown.head
    assert {tile: grown.tiles[tile] for tile in tiles_of(size)} == once.tiles
    assert {one: grown.bundles[one] for one in new_entry_bundles(0, size)} == once.entry_bundles


def test_a_tree_crosses_three_levels() -> None:
    grown = _Grown()
    grown.add(grow(NOTHING, _entries(65_535)))
    growth = grow(grown.edge(), _entries(2, 65_535))
    assert sorted(tile.path for tile in growth.tiles) == [
        "tile/0/255",
        "tile/0/256.p/1",
        "tile/1/000",
        "tile/2/000.p/1",
    ]
    assert growth.head.root_hash.hex() == (
        "dc8795a25fd4bd52a0b84f639fd3139ba160824023d188e428eb5db0f3ce221a"
    )


def test_no_entries_change_nothing() -> None:
    assert grow(NOTHING, []) == Growth(NOTHING.head, {}, {})


def test_an_edge_of_another_tree_is_refused() -> None:
    grown = _Grown()
    grown.add(grow(NOTHING, _entries(300)))
    edge = grown.edge()
    for tile, data in edge.tiles.items():
        for position in (0, len(data) - 1):
            damaged = bytearray(data)
            damaged[position] ^= 1
            with pytest.raises(ProofError):
                grow(Edge(edge.head, {**edge.tiles, tile: bytes(damaged)}, edge.entries), [b"x"])
        with pytest.raises(MalformedError):
            grow(Edge(edge.head, {**edge.tiles, tile: data[:-1]}, edge.entries), [b"x"])


def test_last_entries_that_are_not_those_of_the_tree_are_refused() -> None:
    grown = _Grown()
    grown.add(grow(NOTHING, _entries(3)))
    edge = grown.edge()
    for entries in ((), edge.entries[:2], (*edge.entries, b"3"), (b"1", b"0", b"2")):
        with pytest.raises(ProofError, match="do not have its leaf hashes"):
            grow(Edge(edge.head, edge.tiles, entries), [b"x"])


def test_an_entry_too_large_for_its_bundle_is_the_callers_bug() -> None:
    with pytest.raises(ValueError, match="65535"):
        grow(NOTHING, [b"x" * 65_536])
    largest = b"x" * 65_535
    growth = grow(NOTHING, [largest])
    assert growth.entry_bundles == {EntryBundle(0, 1): format_entry_bundle([largest])}
    assert growth.head.root_hash == leaf_hash(largest)
