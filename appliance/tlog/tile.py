"""Tile and entry-bundle coordinates and their paths (c2sp.org/tlog-tiles).

Coordinates and arithmetic only: what the bytes must hash to is in tile_tree.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from appliance.errors import MalformedError
from appliance.value import frozen

HEIGHT: Final = 8  # tree levels in a tile
WIDTH: Final = 1 << HEIGHT  # hashes in a full tile
MAX_LEVEL: Final = 63
MAX_INDEX: Final = 2**63 // WIDTH  # the last level 0 tile of the largest tree is below


@frozen(order=True)
class Tile:
    """One tile of hashes: where it is and how much of it there is.

    >>> Tile(level=0, index=1234067, width=256).path
    'tile/0/x001/x234/067'
    >>> Tile(level=1, index=0, width=17).path
    'tile/1/000.p/17'
    """

    level: int  # 0..63; 0 holds leaf hashes
    index: int  # from 0, left to right within the level
    width: int = WIDTH  # hashes present, 1..256; 256 is a full tile

    def __post_init__(self) -> None:
        in_range = 0 <= self.level <= MAX_LEVEL and 0 <= self.index < MAX_INDEX
        if not (in_range and 1 <= self.width <= WIDTH):
            raise ValueError(f"no such tile: {self.level}/{self.index}/{self.width}")

    @property
    def path(self) -> str:
        """The path a log serves this tile at, below its URL prefix."""
        return f"tile/{self.level}/{encode_index(self.index)}{_partial_suffix(self.width)}"

    @property
    def is_full(self) -> bool:
        """Whether it can never grow."""
        return self.width == WIDTH

    @property
    def full(self) -> Tile:
        """The full tile at this place."""
        return Tile(self.level, self.index)


@frozen(order=True)
class EntryBundle:
    """The entries under one level 0 tile.

    >>> EntryBundle(index=273, width=112).path
    'tile/entries/273.p/112'
    """

    index: int  # of the level 0 tile
    width: int = WIDTH  # entries present, 1..256

    def __post_init__(self) -> None:
        if not (0 <= self.index < MAX_INDEX and 1 <= self.width <= WIDTH):
            raise ValueError(f"no such entry bundle: {self.index}/{self.width}")

    @property
    def path(self) -> str:
        """The path a log serves this entry bundle at, below its URL prefix."""
        return f"tile/entries/{encode_index(self.index)}{_partial_suffix(self.width)}"

    @property
    def is_full(self) -> bool:
        """Whether it can never grow."""
        return self.width == WIDTH

    @property
    def full(self) -> EntryBundle:
        """The full entry bundle at this place."""
        return EntryBundle(self.index)

    @property
    def tile(self) -> Tile:
        """The tile of its leaf hashes."""
        return Tile(0, self.index, self.width)


def encode_index(index: int) -> str:
    """Spell a tile index: groups of three digits, all but the last with an x.

    >>> encode_index(1234067)
    'x001/x234/067'
    """
    rest, group = divmod(index, 1000)
    text = f"{group:03}"
    while rest:
        rest, group = divmod(rest, 1000)
        text = f"x{group:03}/{text}"
    return text


def _partial_suffix(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"


def parse_tile_path(path: str) -> Tile:
    """Parse a path made by Tile.path.

    Raises MalformedError unless `path` is the one spelling of its tile: no
    leading zeros, no full tile dressed as a partial one.
    """
    body, _, width = path.partition(".p/")
    try:
        _, level, *index = body.split("/")
        tile = Tile(int(level), _decode_index(index), int(width) if width else WIDTH)
    except ValueError as error:
        raise MalformedError(f"not a tile path: {path[:200]!r}") from error
    if tile.path != path:
        raise MalformedError(f"not a tile path: {path[:200]!r}")
    return tile


def parse_entry_bundle_path(path: str) -> EntryBundle:
    """Parse a path made by EntryBundle.path; raises MalformedError as parse_tile_path does."""
    body, _, width = path.partition(".p/")
    try:
        index = _decode_index(body.removeprefix("tile/entries/").split("/"))
        bundle = EntryBundle(index, int(width) if width else WIDTH)
    except ValueError as error:
        raise MalformedError(f"not an entry bundle path: {path[:200]!r}") from error
    if bundle.path != path:
        raise MalformedError(f"not an entry bundle path: {path[:200]!r}")
    return bundle


def _decode_index(groups: list[str]) -> int:
    digits = "".join(group.removeprefix("x") for group in groups)
    if len(digits) > 21:  # 2^63 has 19 digits; int() of a megabyte of them would take minutes
        raise ValueError(f"{len(digits)} digits")
    return int(digits)


def edge_tiles(tree_size: int) -> tuple[Tile, ...]:
    """List the partial tiles of a tree, top down. Their hashes are exactly its peaks' leaves.

    >>> [tile.path for tile in edge_tiles(70000)]
    ['tile/2/000.p/1', 'tile/1/001.p/17', 'tile/0/273.p/112']
    """
    tiles = []
    level = 0
    while hashes := tree_size >> (HEIGHT * level):
        if width := hashes % WIDTH:
            tiles.append(Tile(level, hashes // WIDTH, width))
        level += 1
    return tuple(reversed(tiles))


def full_tile_count(level: int, tree_size: int) -> int:
    """Return how many full tiles a tree has at `level`: those with an index below this."""
    return tree_size >> (HEIGHT * (level + 1))


def top_level(tree_size: int) -> int:
    """Return the highest level that has a tile; raises ValueError for an empty tree."""
    if tree_size < 1:
        raise ValueError("an empty tree has no tiles")
    return (tree_size.bit_length() - 1) // HEIGHT


def tile_at(level: int, index: int, tree_size: int) -> Tile:
    """Return the tile at (level, index) as wide as a tree of `tree_size` has it.

    Raises ValueError if that tree has no such tile.
    """
    hashes = (tree_size >> (HEIGHT * level)) - index * WIDTH
    return Tile(level, index, min(WIDTH, hashes))


def tiles_of(tree_size: int) -> Iterator[Tile]:
    """Yield every tile of a tree, top down and left to right, so parents come first."""
    return new_tiles(0, tree_size)


def new_tiles(old_size: int, new_size: int) -> Iterator[Tile]:
    """Yield the tiles of the new tree that the old one lacks, parents first."""
    for level, indices in new_indices(old_size, new_size):
        for index in indices:
            yield tile_at(level, index, new_size)


def new_indices(old_size: int, new_size: int) -> Iterator[tuple[int, range]]:
    """Yield each level with the indices of the tiles that the old tree lacks, parents first."""
    for level in reversed(range(top_level(new_size) + 1) if new_size else range(0)):
        old_hashes, new_hashes = old_size >> (HEIGHT * level), new_size >> (HEIGHT * level)
        if old_hashes < new_hashes:
            yield level, range(old_hashes // WIDTH, -(-new_hashes // WIDTH))


def new_entry_bundles(old_size: int, new_size: int) -> Iterator[EntryBundle]:
    """Yield the entry bundles of the new tree that the old one lacks, left to right."""
    if old_size < new_size:
        for index in range(old_size // WIDTH, -(-new_size // WIDTH)):
            yield entry_bundle_at(index, new_size)


def entry_bundle_at(index: int, tree_size: int) -> EntryBundle:
    """Return an entry bundle as wide as a tree has it."""
    return EntryBundle(index, min(WIDTH, tree_size - index * WIDTH))


class StoredRun(NamedTuple):
    """Tiles, or entry bundles, in a row that are stored: full ones, or one of any width."""

    start: int  # index
    stop: int  # not included
    width: int  # of each


def missing_ranges(
    stored: Iterable[StoredRun], level: int, tree_size: int, first: int = 0
) -> Iterator[range]:
    """Yield the indices at a level, from `first`, that are not stored as wide as the tree has them.

    `stored` is ascending. As ranges, because a tree has as many tiles as it claims: whoever
    counts them, or has a list of what could fill them, walks through none.
    """
    full, width = divmod(tree_size >> (HEIGHT * level), WIDTH)
    expected, count = first, full + (1 if width else 0)
    for run in stored:
        if run.start >= count:
            break
        if expected < run.start:
            yield range(expected, run.start)
        if run.width < (WIDTH if run.start < full else width):
            yield range(max(run.start, first), run.stop)
        expected = max(expected, run.stop)
    if expected < count:
        yield range(expected, count)
