"""A mirror, or a private log's own tree, as the source of another: without a server between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from appliance.errors import IncompleteError
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.tile import EntryBundle, Tile


class MirrorSource:
    """Implements LogSource over what one home holds of a log."""

    def __init__(self, mirror: Mirror, *, tree_size: int | None = None) -> None:
        self._mirror = mirror
        self._tree_size = tree_size  # of the checkpoint it offers; None: the newest

    @property
    def description(self) -> str:
        """The home's directory."""
        return str(self._mirror.store.home)

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Nothing: there is no network in between."""
        return {}

    def checkpoint(self) -> bytes:
        """Return the note of the checkpoint it offers."""
        history = self._mirror.history
        size = self._tree_size
        found = history.mirror_checkpoint() if size is None else history.at(size)
        if found is None:
            raise IncompleteError(
                f"{self.description} has no checkpoint to offer", reason="no-checkpoint"
            )
        return history.newest_note(found.head.tree_size)

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile."""
        for tile in wanted:
            yield tile, self._mirror.read_tiles([tile])[tile]

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle."""
        for bundle in wanted:
            yield bundle, self._mirror.read_entry_bundle(bundle)
