"""The reads of a tiled log: checkpoint, tiles and entry bundles (c2sp.org/tlog-tiles).

Only what the published checkpoint implies exists. A partial tile that is full by now is
cut out of the full one.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import IncompleteError, MalformedError
from appliance.serve.answers import NOT_FOUND, Answer, error_answer
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.tile import Tile, parse_entry_bundle_path, parse_tile_path, tile_at

CHECKPOINT: Final = "checkpoint"
_TILES: Final = "tile/"
_ENTRIES: Final = "tile/entries/"
_BINARY: Final = "application/octet-stream"
_FOREVER: Final = (("Cache-Control", "max-age=604800,immutable"),)
_NOW: Final = (("Cache-Control", "no-cache"),)


def is_read_path(path: str) -> bool:
    """Whether a path below the log's prefix is one that reads are answered at."""
    return path == CHECKPOINT or path.startswith(_TILES)


def answer_read(mirror: Mirror, path: str) -> Answer:
    """Answer a GET of a path below the log's prefix.

    Raises DigestError or StoreError if what should be there cannot be read.
    """
    published = mirror.history.mirror_checkpoint()
    if published is None:
        return error_answer(NOT_FOUND, "Not Found")
    size = published.head.tree_size
    if path == CHECKPOINT:
        return Answer(200, mirror.history.newest_note(size), "text/plain; charset=utf-8", _NOW)
    try:
        if path.startswith(_ENTRIES):
            bundle = parse_entry_bundle_path(path)
            if not _exists(bundle.tile, size):
                return error_answer(NOT_FOUND, "Not Found")
            return Answer(200, mirror.read_entry_bundle(bundle), _BINARY, _FOREVER)
        tile = parse_tile_path(path)
        if not _exists(tile, size):
            return error_answer(NOT_FOUND, "Not Found")
        return Answer(200, mirror.read_tiles([tile])[tile], _BINARY, _FOREVER)
    except (MalformedError, IncompleteError):
        # Not the spelling of a tile, or one that was pruned here.
        return error_answer(NOT_FOUND, "Not Found")


def _exists(tile: Tile, tree_size: int) -> bool:
    """Whether the tree has this tile, at least as wide."""
    try:
        return tile_at(tile.level, tile.index, tree_size).width >= tile.width
    except ValueError:
        return False
