"""A log's tiles and entry bundles as files, wherever those lie: what its LogSources share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from appliance.errors import MalformedError
from appliance.tlog.entries import MAX_BUNDLE_BYTES, truncate_entry_bundle
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.tile import WIDTH, EntryBundle, Tile


class TreeFiles(ABC):
    """Files named as c2sp.org/tlog-tiles names them; a partial one may be there as the full one."""

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Nothing: there is no network in between."""
        return {}

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile, cut out of a wider one if only that is there."""
        for tile in wanted:
            data, n_bytes = self._read(tile, 2 * WIDTH * HASH_BYTES), tile.width * HASH_BYTES
            if len(data) < n_bytes:
                raise MalformedError(
                    f"{self._name(tile)}: expected {n_bytes} bytes, got {len(data)}",
                    reason="tile-length",
                )
            yield tile, data[:n_bytes]

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle, cut out of a wider one if only that is there."""
        for bundle in wanted:
            yield bundle, truncate_entry_bundle(self._read(bundle, MAX_BUNDLE_BYTES), bundle.width)

    @abstractmethod
    def _read(self, wanted: Tile | EntryBundle, max_bytes: int) -> bytes:
        """Return the file of this tile or entry bundle, or of the full one in its place."""

    @abstractmethod
    def _name(self, wanted: Tile | EntryBundle) -> str:
        """Say which file it is, for people."""
