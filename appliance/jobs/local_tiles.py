"""Our own tiles, where damage here must be told apart from a log that lies.

Whatever of ours does not authenticate under a head that we accepted is corrupt: it did when
it was stored. That is an error with names and a repair, never evidence against anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from appliance.errors import CorruptError, VerificationError
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.merkle import Hash
from appliance.tlog.tile import WIDTH, Tile
from appliance.tlog.tile_tree import ReadTiles, TileTree

T = TypeVar("T")


def our_root_at(mirror: Mirror, tree: TileTree, tree_size: int) -> Hash:
    """Return the root that `tree`, whose head we accepted, has at a smaller size.

    Raises IncompleteError for tiles that are not here, CorruptError for damaged tiles.
    """
    return told_apart(mirror, lambda: tree.root_at(tree_size, mirror.read_tiles))


def load_ours(mirror: Mirror, tree: TileTree, tiles: Iterable[Tile]) -> None:
    """Load tiles of ours into a tree whose head we accepted; raises as our_root_at does."""
    told_apart(mirror, lambda: tree.load(tiles, mirror.read_tiles))


def load_parents(mirror: Mirror, tree: TileTree, tiles: Iterable[Tile]) -> None:
    """Load what authenticates `tiles`, as far as all of it is here; raises as our_root_at does."""
    full = (tile for tile in tiles if tile.is_full)
    siblings = {(tile.level, tile.index // WIDTH): tile for tile in full}  # have one chain
    chains = [tree.parents(tile)[:-1] for tile in siblings.values()]
    whole = [chain for chain in chains if all(map(mirror.has_tile, chain))]
    load_ours(mirror, tree, {tile for chain in whole for tile in chain})


def told_apart(mirror: Mirror, read: Callable[[], T]) -> T:
    """Return what `read` returns, which reads nothing but our own tiles."""
    try:
        return read()
    except VerificationError as error:
        raise corrupt(mirror, error.message) from error


def corrupt(mirror: Mirror, message: str, blobs: Sequence[str] = ()) -> CorruptError:
    """Return the error that says what is damaged and how it is repaired."""
    return CorruptError(
        f"{mirror.log.origin}: stored tiles are damaged: {message}",
        next_step="this is damage here, not an attack: name all of it with 'attestor tiles verify"
        " --full', repair it with 'attestor tiles fetch' or import a transfer bundle again",
        blobs=blobs or (message,),
        origin=mirror.log.origin,
    )


def ours_or_theirs(mirror: Mirror, fetch: ReadTiles) -> ReadTiles:
    """Return a reader of our tiles, and of a source's where ours are not here or damaged."""

    def read(wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        got: dict[Tile, bytes] = {}
        for tile in wanted:
            if mirror.has_tile(tile):
                try:
                    got |= mirror.read_tiles([tile])
                except CorruptError:
                    continue
        lacking = [tile for tile in wanted if tile not in got]
        return got | (dict(fetch(lacking)) if lacking else {})

    return read
