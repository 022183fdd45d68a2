"""The roots of many full tiles, as workers compute them: read, re-hashed, folded.

Nothing is decided here. Who asks compares each root with what an authenticated parent says,
and reads the bytes again, by the same digest, before storing them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256

from appliance.store.blobs import read_whole
from appliance.tlog.merkle import HASH_BYTES, Hash, perfect_root
from appliance.tlog.tile import WIDTH
from appliance.value import frozen

TILE_BYTES = WIDTH * HASH_BYTES


@frozen
class StagedTiles:
    """Tiles in a file that is open here: (first byte, SHA-256) of each; None: not among them."""

    descriptor: int
    places: tuple[tuple[int, bytes] | None, ...]


def staged_roots(tiles: StagedTiles) -> list[Hash | None]:
    """Return the root of each; None for what is not there, or not whole."""
    return [
        None if place is None else _root(os.pread(tiles.descriptor, TILE_BYTES, place[0]), place[1])
        for place in tiles.places
    ]


def blob_roots(blobs: Sequence[tuple[str, bytes] | None]) -> list[Hash | None]:
    """Return the root of each blob, given as (path, SHA-256); None for what is damaged."""
    return [None if blob is None else _root(read_whole(blob[0]), blob[1]) for blob in blobs]


def _root(data: bytes | None, digest: bytes) -> Hash | None:
    whole = data is not None and len(data) == TILE_BYTES and sha256(data).digest() == digest
    return perfect_root(data) if data is not None and whole else None
