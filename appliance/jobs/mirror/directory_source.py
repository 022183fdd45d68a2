"""A static tree of a log's checkpoint and tiles below a directory, as a LogSource."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from appliance.errors import IncompleteError
from appliance.jobs.mirror.tree_files import TreeFiles
from appliance.store.files import is_file, read_foreign
from appliance.tlog.note import MAX_NOTE_BYTES
from appliance.tlog.tile import EntryBundle, Tile

READ_PATH: Final = "api/v2"  # where a server of a log has them


class DirectorySource(TreeFiles):
    """Reads `checkpoint` and `tile/…` below a directory, as c2sp.org/tlog-tiles names them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def description(self) -> str:
        """The directory."""
        return str(self._directory)

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

    def _read(self, wanted: Tile | EntryBundle, max_bytes: int) -> bytes:
        for place in dict.fromkeys((wanted, wanted.full)):
            path = self._directory / place.path
            if is_file(path):
                return read_foreign(path, max_bytes)
        raise IncompleteError(
            f"{self._name(wanted)} is not there",
            reason="not-in-directory",
            next_step="take a mirror that is complete, with its entries",
        )

    def _name(self, wanted: Tile | EntryBundle) -> str:
        return str(self._directory / wanted.path)
