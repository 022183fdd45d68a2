"""Full tiles of a staged transfer bundle, put into the blob directory by workers.

A worker is told what each has to hash to, by a parent that was authenticated before. It
reads the tile, checks its digest and its root, and only then puts the blob in its place;
making it durable, and naming it in a row, is for whoever asked. What is not placed, for
whatever reason, is left to them too: they find out, and say, what is wrong with it.
"""

from __future__ import annotations

import os
from hashlib import sha256

from appliance.store.blobs import Placed, place
from appliance.tlog.merkle import HASH_BYTES, Hash, perfect_root
from appliance.tlog.tile import WIDTH
from appliance.value import frozen

TILE_BYTES = WIDTH * HASH_BYTES


@frozen
class StagedTile:
    """Where a full tile stands, and what it has to be."""

    offset: int  # of its first byte in the staged copy
    digest: bytes  # SHA-256, as SHA256SUMS has it
    root: Hash  # as its authenticated parent has it


@frozen
class StagedBatch:
    """Tiles to be placed; None: one that cannot be."""

    descriptor: int  # of the staged copy, here and in the worker
    blobs: str  # the directory
    tiles: tuple[StagedTile | None, ...]


def place_batch(batch: StagedBatch) -> list[Placed | None]:
    """Place each tile that is what it has to be; None for any other."""
    return [None if tile is None else _place(batch, tile) for tile in batch.tiles]


def _place(batch: StagedBatch, tile: StagedTile) -> Placed | None:
    data = os.pread(batch.descriptor, TILE_BYTES, tile.offset)
    if len(data) != TILE_BYTES or sha256(data).digest() != tile.digest:
        return None
    return place(batch.blobs, tile.digest, data) if perfect_root(data) == tile.root else None
