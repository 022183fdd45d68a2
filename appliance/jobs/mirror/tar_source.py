"""A tar archive of a log's checkpoint and tiles, as a LogSource."""

from __future__ import annotations

from pathlib import Path

from appliance.errors import IncompleteError
from appliance.jobs.mirror.tree_files import TreeFiles
from appliance.store.mirror.tar_tree import TarTree
from appliance.tlog.note import MAX_NOTE_BYTES
from appliance.tlog.tile import EntryBundle, Tile


class TarSource(TreeFiles):
    """Reads `checkpoint` and `tile/…` of one log, below whatever directory they are archived."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tree: TarTree | None = None  # read at the first question
        self._prefix = ""

    @property
    def description(self) -> str:
        """The archive."""
        return str(self._path)

    def checkpoint(self) -> bytes:
        """Return the signed note in the one file `checkpoint`."""
        return self._opened().read(f"{self._prefix}checkpoint", MAX_NOTE_BYTES)

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

    def _read(self, wanted: Tile | EntryBundle, max_bytes: int) -> bytes:
        tree = self._opened()
        for place in dict.fromkeys((wanted, wanted.full)):
            name = f"{self._prefix}{place.path}"
            if tree.has(name):
                return tree.read(name, max_bytes)
        raise IncompleteError(
            f"{self._name(wanted)} is not there",
            reason="not-in-archive",
            next_step="take an archive that is complete, with its entries",
        )

    def _name(self, wanted: Tile | EntryBundle) -> str:
        return f"{self._path}: {self._prefix}{wanted.path}"
