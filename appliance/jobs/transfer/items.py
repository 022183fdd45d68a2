"""What leaves of a log, as ranges: a list of it would grow with the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from appliance.jobs.transfer.window_members import Window
from appliance.tlog.tile import WIDTH, EntryBundle, Tile, entry_bundle_at, new_indices, tile_at
from appliance.value import frozen

Item = Tile | EntryBundle | Window


@frozen
class Run:
    """Items that are made of numbers in a row, when they are asked for."""

    make: Callable[[int], Item]
    numbers: range


def run_of(items: Sequence[Item]) -> Run:
    """Return a run of items that are few, and here."""
    return Run(items.__getitem__, range(len(items)))


def new_tile_runs(
    old_size: int, new_size: int, but: Iterable[Tile], *, leaves: bool
) -> Iterator[Run]:
    """Yield runs of the tiles that the old tree lacks, but for some few; parents first.

    Without `leaves` there are none of level 0, which follow from entry bundles.
    """
    left_out = sorted((one.level, one.index) for one in but)
    for level, indices in new_indices(old_size, new_size):
        if level == 0 and not leaves:
            continue
        start = indices.start
        for index in (at for on, at in left_out if on == level and at in indices):
            yield Run(partial(tile_at, level, tree_size=new_size), range(start, index))
            start = index + 1
        yield Run(partial(tile_at, level, tree_size=new_size), range(start, indices.stop))


def new_entry_bundle_runs(old_size: int, new_size: int) -> Iterator[Run]:
    """Yield a run of the entry bundles that the old tree lacks; the newest if it lacks none.

    That one says that entries are wanted on the far side.
    """
    indices = next((at for level, at in new_indices(old_size, new_size) if level == 0), None)
    if indices is None:
        last = (new_size - 1) // WIDTH
        indices = range(last, last + 1) if new_size else range(0)
    yield Run(partial(entry_bundle_at, tree_size=new_size), indices)


class Items:
    """Tiles top down, then entry bundles; or windows. Walked as often as is asked."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = tuple(runs)
        self._length = sum(len(run.numbers) for run in self._runs)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        return self.part(0, self._length)

    def part(self, start: int, stop: int) -> Iterator[Item]:
        """Yield those from the `start`-th to before the `stop`-th."""
        for run in self._runs:
            length = len(run.numbers)
            for number in run.numbers[max(start, 0) : max(stop, 0)]:
                yield run.make(number)
            start, stop = start - length, stop - length


def in_order(item: Item) -> tuple[int, int]:
    """Return what items are ordered by: each comes after those that authenticate it."""
    if isinstance(item, Tile):
        return -item.level, item.index
    return (1, item.index) if isinstance(item, EntryBundle) else (2, item.start)
