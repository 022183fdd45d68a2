"""A tar archive of a log's checkpoint and tiles, as a LogSource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.errors import IncompleteError, MalformedError
from appliance.jobs.mirror.directory_source import Place
from appliance.store.mirror.tar_tree import TarTree
from appliance.tlog.entries import MAX_BUNDLE_BYTES, truncate_entry_bundle
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.note import MAX_NOTE_BYTES
from appliance.tlog.tile import WIDTH, EntryBundle, Tile


class TarSource:
    """Reads `checkpoint` and `tile/…` of one log, below whatever directory they are archived."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tree: TarTree | None = None  # read at the first question
        self._prefix = ""

    @property
    def description(self) -> str:
        """The archive."""
        return str(self._path)

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Nothing: there is no network in between."""
        return {}

    def checkpoint(self) -> bytes:
        """Return the signed note in the one file `checkpoint`."""
        return self._opened().read(f"{self._prefix}checkpoint", MAX_NOTE_BYTES)

    def tiles(self, wanted: Sequence[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile, cut out of a wider one if only that is there."""
        for tile in wanted:
            data = self._read(tile, 2 * WIDTH * HASH_BYTES)
            if len(data) < tile.width * HASH_BYTES:
                raise MalformedError(
                    f"{self._path}: {tile.path}: expected {tile.width * HASH_BYTES} bytes,"
                    f" got {len(data)}",
                    reason="tile-length",
                )
            yield tile, data[: tile.width * HASH_BYTES]

    def entry_bundles(self, wanted: Sequence[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle, cut out of a wider one if only that is there."""
        for bundle in wanted:
            yield bundle, truncate_entry_bundle(self._read(bundle, MAX_BUNDLE_BYTES), bundle.width)

    def _opened(self) -> TarTree:
        if self._tree is None:
            tree = TarTree(self._path)
            found = tree.ends_with("checkpoint")
            if len(found) != 1:
                raise IncompleteError(
                    f"{self._path} has {len(found)} files named checkpoint, expected one",
                    reason="no-checkpoint",
                    next_step="name an archive of the directory that holds a log's checkpoint and"
                    " tile/",
                )
            self._tree, self._prefix = tree, found[0].removesuffix("checkpoint")
        return self._tree

    def _read(self, wanted: Place, max_bytes: int) -> bytes:
        tree = self._opened()
        for place in dict.fromkeys((wanted, wanted.full)):
            name = f"{self._prefix}{place.path}"
            if tree.has(name):
                return tree.read(name, max_bytes)
        raise IncompleteError(
            f"{self._path} has no {self._prefix}{wanted.path}",
            reason="not-in-archive",
            next_step="take an archive that is complete, with its entries",
        )
