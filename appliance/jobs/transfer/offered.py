"""What a transfer bundle has of a log's tree: 8 bytes for each tile, for there may be millions."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import groupby
from operator import gt
from typing import Generic, TypeVar

from appliance.tlog.tile import WIDTH, EntryBundle, Tile

P = TypeVar("P", Tile, EntryBundle)


class Places(Generic[P]):
    """Tiles, topmost level first, or entry bundles; each level from left to right, none twice."""

    def __init__(self, make: Callable[[int, int, int], P]) -> None:
        self._make: Callable[[int, int, int], P] = make  # of level, index and width
        self._levels: dict[int, array[int]] = {}  # index and width in one number each

    def __len__(self) -> int:
        return sum(map(len, self._levels.values()))

    def __iter__(self) -> Iterator[P]:
        for level in sorted(self._levels, reverse=True):
            for number in self._levels[level]:
                index, width = divmod(number, WIDTH)
                yield self._make(level, index, width + 1)

    def add(self, level: int, index: int, width: int) -> None:
        """Add a place; `settle` when all are here."""
        self._levels.setdefault(level, array("Q")).append(index * WIDTH + width - 1)

    def settle(self) -> None:
        """Bring all into their order, as a good exporter did."""
        for level, numbers in self._levels.items():
            if any(map(gt, numbers, numbers[1:])):
                self._levels[level] = array("Q", sorted(numbers))

    def join(self, bundles: Places[EntryBundle]) -> None:
        """Add the tiles that follow from entry bundles. Both are settled."""
        for numbers in bundles._levels.values():
            both = merge(self._levels.get(0, ()), numbers)
            self._levels[0] = array("Q", (number for number, _ in groupby(both)))
