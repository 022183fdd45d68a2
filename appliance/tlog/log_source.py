"""Where the bytes of one log come from: a server, a transfer bundle, a simulator."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from appliance.tlog.merkle import Hash
from appliance.tlog.tile import EntryBundle, Tile

T = TypeVar("T")


@contextmanager
def ending(brought: Iterator[T]) -> Iterator[Iterator[T]]:
    """Close what a source brings at the end of the block, read to its end or not.

    Its threads are gone then, even if something still holds it, as a traceback does.
    """
    try:
        yield brought
    finally:
        if isinstance(brought, Generator):
            brought.close()


class LogSource(Protocol):
    """One log's checkpoint, tiles and entry bundles. Nothing it returns is trusted.

    Every method raises RemoteError if the other side cannot answer now,
    IncompleteError if this source never had the thing, and MalformedError or
    LimitError if what came is not even of the right shape.
    """

    @property
    def description(self) -> str:
        """Where this is, for messages and evidence: a URL or a file name."""

    @property
    def exchange(self) -> Mapping[str, Any]:
        """How the last checkpoint came, for evidence: JSON-able, empty if nothing is known."""

    def checkpoint(self) -> bytes:
        """Return the newest signed note it offers."""

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile, width x 32 bytes, in any order, as they come.

        Takes a bounded number from `wanted` ahead of what it yields: there may be a million.
        """

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle, decoded and bounded, in any order, as they come."""


@runtime_checkable
class ProvingSource(LogSource, Protocol):
    """A LogSource without tiles, which proves by itself that its tree only grew."""

    def consistency(self, old_size: int, new_size: int) -> tuple[Hash, ...]:
        """Return what it offers as a consistency proof between two sizes; it may be wrong."""
