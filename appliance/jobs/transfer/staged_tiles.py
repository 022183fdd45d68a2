"""Full tiles of a staged transfer bundle, put into the blob directory by workers.

Their roots are hashed while the rest of the bundle is still being staged: that is most of
the work, and it takes nothing but the bytes. Whether a root is the right one is for a parent
to say that was authenticated before; only then is a worker told to put the blob in its
place, durably, after it has hashed the tile once more against its digest. Naming it in a row
is for whoever asked. What is not placed, for whatever reason, is left to them too: they find
out, and say, what is wrong with it.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from appliance.jobs.workers import Workers
from appliance.store.blobs import Blobs
from appliance.store.filesystem import start_flush
from appliance.tlog.merkle import HASH_BYTES, Hash, perfect_root
from appliance.tlog.tile import WIDTH
from appliance.value import frozen

if TYPE_CHECKING:  # a worker needs neither
    from appliance.store.database import Store
    from bundles.members import MemberRef

TILE_BYTES: Final = WIDTH * HASH_BYTES
_CHUNK_TILES: Final = 512  # asked of a worker at a time
_UNREADABLE: Final = bytes(HASH_BYTES)  # stands for a root that could not be hashed


class StagedTile(NamedTuple):
    """Where a full tile stands in the staged copy. A plain tuple, since many travel."""

    offset: int  # of its first byte
    digest: bytes  # SHA-256, as SHA256SUMS has it


@frozen
class StagedBatch:
    """Tiles to be hashed or placed; None: one that is not."""

    descriptor: int  # of the staged copy, here and in the worker
    tiles: Sequence[StagedTile | None]
    blobs: str = ""  # the directory to place them in


# --- what workers do


def root_batch(batch: StagedBatch) -> bytes:
    """Return the roots of tiles, one after the other."""
    return b"".join(_root(_read(batch.descriptor, tile)) for tile in batch.tiles)


def place_batch(batch: StagedBatch) -> list[bool] | None:
    """Make durable blobs of tiles; say of which. None: the disk is full or fails."""
    found = [_read(batch.descriptor, tile) for tile in batch.tiles]
    good = (
        (tile.digest, data)
        for tile, data in zip(batch.tiles, found, strict=True)
        if tile is not None and data is not None
    )
    return [data is not None for data in found] if Blobs(Path(batch.blobs)).place(good) else None


def _root(data: bytes | None) -> bytes:
    return _UNREADABLE if data is None else perfect_root(data)


def _read(descriptor: int, tile: StagedTile | None) -> bytes | None:
    if tile is None:
        return None
    try:
        data = os.pread(descriptor, TILE_BYTES, tile.offset)
    except OSError:
        return None  # whoever asked reads it too, and says what is wrong
    return data if len(data) == TILE_BYTES and sha256(data).digest() == tile.digest else None


# --- what is asked of them while staging


class StagedTiles:
    """The full tiles of one transfer bundle, and the workers that hash and place them."""

    def __init__(self, copy: BinaryIO, workers: Workers) -> None:
        self._copy = copy  # that it is staged in; the workers have it open too
        self._workers = workers
        self._chunk: list[StagedTile] = []  # not asked for yet
        self._offsets = array("Q")  # ascending; 40 bytes a tile here, for there may be a million
        self._roots = bytearray()  # of the tiles there

    def passed(self, member: MemberRef) -> None:
        """Be told of a member that was copied and checked; any of a tile's size may be one."""
        if member.size == TILE_BYTES:
            self._chunk.append(StagedTile(member.offset, member.sha256))
            if len(self._chunk) == _CHUNK_TILES:
                self._ask()

    def root(self, offset: int) -> Hash | None:
        """Return the root of the tile whose bytes begin there; None if it was not hashed."""
        self._finish()
        at = bisect_left(self._offsets, offset)
        if at == len(self._offsets) or self._offsets[at] != offset:
            return None
        root = bytes(self._roots[at * HASH_BYTES : (at + 1) * HASH_BYTES])
        return None if root == _UNREADABLE else Hash(root)

    def place(
        self, store: Store, batches: Iterable[Sequence[StagedTile | None]]
    ) -> Iterator[list[bytes | None]]:
        """Make durable blobs of tiles whose roots are right; yield digests, None for none."""
        from appliance.jobs.home.sweep import sweep_these

        self._finish()
        blobs = str(store.blobs.root)
        chunks = (StagedBatch(self._copy.fileno(), batch, blobs) for batch in batches)
        for chunk, answer in self._workers.map(place_batch, chunks):
            if answer is None:
                # What of these is there may not be durable, and would be taken for it.
                sweep_these(store, [tile.digest for tile in chunk.tiles if tile is not None])
            placed = answer or [False] * len(chunk.tiles)
            yield [
                tile.digest if tile is not None and is_placed else None
                for tile, is_placed in zip(chunk.tiles, placed, strict=True)
            ]

    def _finish(self) -> None:
        if self._chunk:
            self._ask()
        while len(self._roots) < len(self._offsets) * HASH_BYTES:
            self._roots += self._workers.answer()

    def _ask(self) -> None:
        self._copy.flush()  # into what the workers read
        # The disk is idle while we hash; else the first blobs would wait until all of it is out.
        start_flush(self._copy.fileno())
        if self._workers.are_busy:
            self._roots += self._workers.answer()
        self._workers.ask(root_batch, StagedBatch(self._copy.fileno(), self._chunk))
        self._offsets.extend(tile.offset for tile in self._chunk)
        self._chunk = []
