"""The reads of a tiled log: checkpoint, tiles and entry bundles (c2sp.org/tlog-tiles).

Only what the published checkpoint implies exists. A partial tile that is full by now is
cut out of the full one. A full tile never changes and may be kept by every cache; a partial
one neither, but who keeps it holds one more for each width; what is not there yet may be soon.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import IncompleteError, MalformedError
from appliance.serve.answers import NOT_FOUND, NOW, Answer, error_answer
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.tile import Tile, parse_entry_bundle_path, parse_tile_path, tile_at

CHECKPOINT: Final = "checkpoint"
_TILES: Final = "tile/"
_ENTRIES: Final = "tile/entries/"
_BINARY: Final = "application/octet-stream"
_FOREVER: Final = (("Cache-Control", "max-age=604800,immutable"),)
_A_MINUTE: Final = (("Cache-Control", "max-age=60"),)


def is_read_path(path: str) -> bool:
    """Whether a path below the log's prefix is one that reads are answered at."""
    return path == CHECKPOINT or path.startswith(_TILES)


def answer_read(mirror: Mirror, path: str) -> Answer:
    """Answer a GET of a path below the log's prefix.

    Raises DigestError or StoreError if what should be there cannot be read.
    """
    published = mirror.history.mirror_checkpoint()
    if published is None:
        return _not_there()
    size = published.head.tree_size
    if path == CHECKPOINT:
        return Answer(200, mirror.history.newest_note(size), "text/plain; charset=utf-8", NOW)
    try:
        if path.startswith(_ENTRIES):
            bundle = parse_entry_bundle_path(path)
            if not _exists(bundle.tile, size):
                return _not_there()
            return _found(bundle.tile, mirror.read_entry_bundle(bundle))
        tile = parse_tile_path(path)
        if not _exists(tile, size):
            return _not_there()
        return _found(tile, mirror.read_tiles([tile])[tile])
    except (MalformedError, IncompleteError):
        # Not the spelling of a tile, or one that was pruned here.
        return _not_there()


def _found(tile: Tile, data: bytes) -> Answer:
    return Answer(200, data, _BINARY, _FOREVER if tile.is_full else _A_MINUTE)


def _not_there() -> Answer:
    return error_answer(NOT_FOUND, "Not Found", NOW)


def _exists(tile: Tile, tree_size: int) -> bool:
    """Whether the tree has this tile, at least as wide."""
    try:
        return tile_at(tile.level, tile.index, tree_size).width >= tile.width
    except ValueError:
        return False
