"""Tile coordinates: one path a tile, and which tiles a tree has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MalformedError
from appliance.tlog.tile import (
    MAX_INDEX,
    EntryBundle,
    Tile,
    edge_tiles,
    encode_index,
    full_tile_count,
    new_entry_bundles,
    new_tiles,
    parse_entry_bundle_path,
    parse_tile_path,
    tile_at,
    tiles_of,
    top_level,
)
from tests.shared import vectors

TILES = st.builds(Tile, st.integers(0, 63), st.integers(0, MAX_INDEX - 1), st.integers(1, 256))
ENTRY_BUNDLES = st.builds(EntryBundle, st.integers(0, MAX_INDEX - 1), st.integers(1, 256))
PATH_LIKE = st.text(alphabet="tile/entris0123456789x.p-+_ \n", max_size=40)
SIZES = st.integers(0, 300_000)


# Paths.


def test_the_index_encoding_is_the_published_one() -> None:
    for index, encoded in vectors()["index_encoding"].items():
        assert encode_index(int(index)) == encoded


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 67, 1), "tile/0/067.p/1"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(1, 1, 17), "tile/1/001.p/17"),
        (Tile(2, 0, 1), "tile/2/000.p/1"),
        (Tile(63, 123456789, 255), "tile/63/x123/x456/789.p/255"),
    ],
)
def test_a_tile_has_the_path_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_tile_path(path) == tile


@pytest.mark.parametrize(
    ("bundle", "path"),
    [
        (EntryBundle(0), "tile/entries/000"),
        (EntryBundle(0, 5), "tile/entries/000.p/5"),
        (EntryBundle(273, 112), "tile/entries/273.p/112"),
        (EntryBundle(1234067), "tile/entries/x001/x234/067"),
    ],
)
def test_an_entry_bundle_has_the_path_of_the_specification(bundle: EntryBundle, path: str) -> None:
    assert bundle.path == path
    assert parse_entry_bundle_path(path) == bundle


@given(TILES)
def test_a_tiles_path_parses_to_it(tile: Tile) -> None:
    assert parse_tile_path(tile.path) == tile


@given(ENTRY_BUNDLES)
def test_an_entry_bundles_path_parses_to_it(bundle: EntryBundle) -> None:
    assert parse_entry_bundle_path(bundle.path) == bundle


@given(st.text() | PATH_LIKE)
def test_any_text_is_a_path_in_its_one_spelling_or_malformed(text: str) -> None:
    for path in (text, "tile/" + text, "tile/0/" + text, "tile/entries/" + text):
        try:
            assert parse_tile_path(path).path == path
        except MalformedError as error:
            assert path.startswith("tile/") or error.message
        try:
            assert parse_entry_bundle_path(path).path == path
        except MalformedError:
            continue


OTHER_SPELLINGS = {
    "empty": "",
    "no index": "{}/",
    "four digits": "{}/0000",
    "four digits from a thousand": "{}/1000",
    "two digits": "{}/67",
    "missing x": "{}/001/000",
    "x on the last group": "{}/x001/x000",
    "x on an only group": "{}/x001",
    "leading zero group": "{}/x000/001",
    "empty group": "{}//000",
    "full tile spelled as partial": "{}/000.p/256",
    "empty tile": "{}/000.p/0",
    "width of 257": "{}/000.p/257",
    "width with a leading zero": "{}/000.p/01",
    "width missing": "{}/000.p/",
    "negative width": "{}/000.p/-1",
    "width with a sign": "{}/000.p/+1",
    "width with an underscore": "{}/000.p/1_0",
    "width with a space": "{}/000.p/ 1",
    "width with a newline": "{}/000.p/1\n",
    "two widths": "{}/000.p/1.p/1",
    "a dot": "{}/000.p",
    "negative index": "{}/-01",
    "arabic digits": "{}/\u0660\u0660\u0660",
    "full-width digits": "{}/\uff10\uff10\uff10",
    "absolute": "/{}/000",
    "parent": "{}/../000",
    "trailing slash": "{}/000/",
    "too many groups": "{}/x999/x999/x999/x999/x999/x999/x999/999",
    "index of 2^55": "{}/x036/x028/x797/x018/x963/968",
    "another prefix": "tiles/0/000",
    "upper case": "{}/X001/000",
}


@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_another_spelling_of_a_tile_is_rejected(name: str) -> None:
    path = OTHER_SPELLINGS[name].format("tile/0")
    with pytest.raises(MalformedError) as caught:
        parse_tile_path(path)
    assert caught.value.message == f"not a tile path: {path!r}"


@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_another_spelling_of_an_entry_bundle_is_rejected(name: str) -> None:
    path = OTHER_SPELLINGS[name].format("tile/entries")
    with pytest.raises(MalformedError) as caught:
        parse_entry_bundle_path(path)
    assert caught.value.message == f"not an entry bundle path: {path!r}"


@pytest.mark.parametrize("level", ["", "-1", "00", "+0", "64", "0_0", "x", "entries", "9" * 5000])
def test_another_spelling_of_a_level_is_rejected(level: str) -> None:
    with pytest.raises(MalformedError):
        parse_tile_path(f"tile/{level}/000")


def test_a_megabyte_of_digits_is_rejected_at_once() -> None:
    for parse in (parse_tile_path, parse_entry_bundle_path):
        for path in ("tile/0/" + "9" * 1_000_000, "tile/entries/x" + "9/x" * 500_000):
            with pytest.raises(MalformedError) as caught:
                parse(path)
            assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("level", "index", "width"),
    [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, MAX_INDEX, 1), (0, 0, 0), (0, 0, 257), (0, 0, -1)],
)
def test_an_impossible_tile_cannot_be_made(level: int, index: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"no such tile: {level}/{index}/{width}"):
        Tile(level, index, width)
    if level == 0:
        with pytest.raises(ValueError, match=f"no such entry bundle: {index}/{width}"):
            EntryBundle(index, width)


def test_the_last_tile_of_the_largest_tree_can_be_made() -> None:
    assert tile_at(0, MAX_INDEX - 1, 2**63 - 1).width == 255


def test_full_tiles_and_partial_ones_know_each_other() -> None:
    partial = Tile(1, 5, 17)
    assert not partial.is_full
    assert partial.full == Tile(1, 5, 256)
    assert partial.full.is_full
    bundle = EntryBundle(5, 17)
    assert not bundle.is_full
    assert bundle.full == EntryBundle(5, 256)
    assert bundle.full.is_full
    assert bundle.tile == Tile(0, 5, 17)


# Which tiles a tree has.


def test_70000_leaves_have_the_tiles_of_the_specification() -> None:
    tiles = list(tiles_of(70_000))
    assert len(tiles) == 274 + 2 + 1
    assert tiles[0] == Tile(2, 0, 1)
    assert tiles[1:3] == [Tile(1, 0), Tile(1, 1, 17)]
    assert tiles[-1] == Tile(0, 273, 112)
    assert [full_tile_count(level, 70_000) for level in range(3)] == [273, 1, 0]


@pytest.mark.parametrize(
    ("size", "paths"),
    [
        (0, []),
        (1, ["tile/0/000.p/1"]),
        (255, ["tile/0/000.p/255"]),
        (256, ["tile/1/000.p/1", "tile/0/000"]),
        (257, ["tile/1/000.p/1", "tile/0/000", "tile/0/001.p/1"]),
        (512, ["tile/1/000.p/2", "tile/0/000", "tile/0/001"]),
    ],
)
def test_a_small_tree_has_these_tiles_parents_first(size: int, paths: list[str]) -> None:
    assert [tile.path for tile in tiles_of(size)] == paths


def test_65536_leaves_fill_a_tile_of_level_1() -> None:
    tiles = list(tiles_of(65_536))
    assert tiles[:3] == [Tile(2, 0, 1), Tile(1, 0), Tile(0, 0)]
    assert len(tiles) == 1 + 1 + 256


def every_tile_by_definition(size: int) -> set[Tile]:
    """Level L holds a hash for each whole run of 256^L leaves, 256 hashes a tile."""
    tiles = set()
    level = 0
    while hashes := size // 256**level:
        for index in range((hashes + 255) // 256):
            tiles.add(Tile(level, index, min(256, hashes - 256 * index)))
        level += 1
    return tiles


@pytest.mark.parametrize("size", [*range(71), 255, 256, 257, 511, 512, 513, 65535, 65536, 65537])
def test_the_tiles_of_a_tree_are_those_of_the_definition(size: int) -> None:
    tiles = list(tiles_of(size))
    assert set(tiles) == every_tile_by_definition(size)
    assert tiles == sorted(tiles, key=lambda tile: (-tile.level, tile.index))
    assert {tile for tile in tiles if not tile.is_full} == set(edge_tiles(size))
    bundles = [EntryBundle(tile.index, tile.width) for tile in tiles if tile.level == 0]
    assert list(new_entry_bundles(0, size)) == bundles


@given(SIZES, SIZES)
def test_new_tiles_are_the_tiles_that_only_the_new_tree_has(one: int, other: int) -> None:
    old_size, new_size = sorted((one, other))
    new = list(new_tiles(old_size, new_size))
    assert len(new) == len(set(new))
    assert set(new) == every_tile_by_definition(new_size) - every_tile_by_definition(old_size)
    bundles = list(new_entry_bundles(old_size, new_size))
    assert {bundle.tile for bundle in bundles} == {tile for tile in new if tile.level == 0}
    assert bundles == sorted(bundles)


@given(SIZES, SIZES)
def test_a_tree_that_does_not_grow_has_no_new_tiles(one: int, other: int) -> None:
    old_size, new_size = max(one, other), min(one, other)
    assert not list(new_tiles(old_size, new_size))
    assert not list(new_entry_bundles(old_size, new_size))


@given(st.integers(1, 2**63 - 1))
def test_the_edge_of_any_tree_holds_its_peaks(size: int) -> None:
    edge = edge_tiles(size)
    assert sum(tile.width << (8 * tile.level) for tile in edge) == size
    assert list(edge) == sorted(edge, key=lambda tile: -tile.level)
    assert all(tile == tile_at(tile.level, tile.index, size) for tile in edge)
    assert edge[0].level <= top_level(size)
    assert tile_at(top_level(size), 0, size).index == 0


def test_an_empty_tree_has_no_top_level() -> None:
    with pytest.raises(ValueError, match="an empty tree has no tiles"):
        top_level(0)


@pytest.mark.parametrize(("level", "index"), [(0, 274), (1, 2), (2, 1), (3, 0), (0, -1)])
def test_a_tile_outside_the_tree_does_not_exist(level: int, index: int) -> None:
    with pytest.raises(ValueError, match="no such tile"):
        tile_at(level, index, 70_000)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_535, 65_536, 65_537, 2**24, 2**24 + 1])
def test_the_top_level_has_one_tile_and_nothing_is_above(size: int) -> None:
    level = top_level(size)
    assert tile_at(level, 0, size)
    for impossible in ((level, 1), (level + 1, 0)):
        with pytest.raises(ValueError, match="no such tile"):
            tile_at(*impossible, size)
