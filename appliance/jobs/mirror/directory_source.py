"""A static tree of a log's checkpoint and tiles below a directory, as a LogSource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from appliance.errors import IncompleteError, MalformedError
from appliance.store.files import is_file, read_foreign
from appliance.tlog.entries import MAX_BUNDLE_BYTES, truncate_entry_bundle
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.note import MAX_NOTE_BYTES
from appliance.tlog.tile import WIDTH, EntryBundle, Tile

READ_PATH: Final = "api/v2"  # where a server of a log has them
Place = TypeVar("Place", Tile, EntryBundle)


class DirectorySource:
    """Reads `checkpoint` and `tile/…` below a directory, as c2sp.org/tlog-tiles names them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def description(self) -> str:
        """The directory."""
        return str(self._directory)

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Nothing: there is no network in between."""
        return {}

    def checkpoint(self) -> bytes:
        """Return the signed note in the file `checkpoint`."""
        path = self._directory / "checkpoint"
        if not is_file(path) and is_file(self._directory / READ_PATH / "checkpoint"):
            self._directory /= READ_PATH  # a copy of a whole server has it there
            path = self._directory / "checkpoint"
        if not is_file(path):
            raise IncompleteError(
                f"{path} is not there",
                reason="no-checkpoint",
                next_step="name the directory that holds a log's checkpoint and tile/, and see"
                " that it is mounted",
            )
        return read_foreign(path, MAX_NOTE_BYTES)

    def tiles(self, wanted: Sequence[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile, cut out of a wider one if only that is there."""
        for tile in wanted:
            data = self._read(tile, 2 * WIDTH * HASH_BYTES)
            if len(data) < tile.width * HASH_BYTES:
                raise MalformedError(
                    f"{self._directory / tile.path}: expected {tile.width * HASH_BYTES} bytes,"
                    f" got {len(data)}",
                    reason="tile-length",
                )
            yield tile, data[: tile.width * HASH_BYTES]

    def entry_bundles(self, wanted: Sequence[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle, cut out of a wider one if only that is there."""
        for bundle in wanted:
            yield bundle, truncate_entry_bundle(self._read(bundle, MAX_BUNDLE_BYTES), bundle.width)

    def _read(self, wanted: Place, max_bytes: int) -> bytes:
        for place in dict.fromkeys((wanted, wanted.full)):
            path = self._directory / place.path
            if is_file(path):
                return read_foreign(path, max_bytes)
        raise IncompleteError(
            f"{self._directory / wanted.path} is not there",
            reason="not-in-directory",
            next_step="take a mirror that is complete, with its entries",
        )
