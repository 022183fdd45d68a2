"""Items of a log as members of a transfer bundle."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final, Protocol

from appliance.jobs.transfer.items import Item
from appliance.jobs.transfer.source import entries_member, tile_member
from appliance.jobs.transfer.window_members import Window
from appliance.store.mirror.entry_frames import compress_bundle
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.tile import EntryBundle, Tile
from bundles.writer import Member

Blob = tuple[bytes, int]  # digest and size
_TILES_AT_ONCE: Final = 1024  # rows of one query


def in_memory(path: str, data: bytes) -> Member:
    """Describe a member that is small and here already."""
    return Member(path, len(data), sha256(data).digest(), lambda: data)


class ItemMembers(Protocol):
    """Describes the items of one log as members."""

    def stored(self, item: Item) -> Blob | None:
        """Return the blob that has just an item's bytes; None: there is none."""

    def member(self, item: Item, blob: Blob | None = None) -> Member:
        """Describe an item, whose blob is looked up unless it is known."""


class TileMembers:
    """Describes what is stored of one log as members; finds full tiles many at a time."""

    def __init__(self, mirror: Mirror, directory: str) -> None:
        self._mirror = mirror
        self._directory = directory
        self._read = mirror.store.blobs.get
        self._full_tiles = lru_cache(maxsize=8)(self._find_full_tiles)

    def stored(self, item: Item) -> Blob | None:
        """Return an item's blob; None: what is stored is wider than the exported tree has it."""
        if isinstance(item, EntryBundle):
            return self._mirror.entry_bundle_blob(item)
        tile = _tile(item)
        digest = self._digest(tile)
        return None if digest is None else (digest, tile.width * HASH_BYTES)

    def member(self, item: Item, blob: Blob | None = None) -> Member:
        """Describe an item; what is stored wider than the exported tree is cut now."""
        found = blob or self.stored(item)
        if isinstance(item, EntryBundle):
            path = entries_member(self._directory, item)
        else:
            path = tile_member(self._directory, _tile(item))
        if found:
            return Member(path, found[1], found[0], partial(self._read, found[0]))
        if isinstance(item, EntryBundle):
            return in_memory(path, compress_bundle(self._mirror.read_entry_bundle(item)))
        tile = _tile(item)
        return in_memory(path, self._mirror.read_tiles([tile])[tile])

    def _digest(self, tile: Tile) -> bytes | None:
        if tile.is_full:
            block, place = divmod(tile.index, _TILES_AT_ONCE)
            if found := self._full_tiles(tile.level, block)[place]:
                return found
        return self._mirror.tile_digest(tile)

    def _find_full_tiles(self, level: int, block: int) -> list[bytes | None]:
        first = block * _TILES_AT_ONCE
        return self._mirror.tile_digests(level, range(first, first + _TILES_AT_ONCE))


class WindowMembers:
    """Has the windows of a log without tiles described already; their bytes are in no blob."""

    def __init__(self, described: Mapping[Window, Member]) -> None:
        self._described = described

    def stored(self, _: Item) -> None:
        """Return None: a window is packed anew."""

    def member(self, item: Item, _: Blob | None = None) -> Member:
        """Return a window's member."""
        if isinstance(item, Window):
            return self._described[item]
        raise ValueError("a log without tiles has windows alone")


def _tile(item: Item) -> Tile:
    if isinstance(item, Tile):
        return item
    raise ValueError("a log with tiles has no windows")
