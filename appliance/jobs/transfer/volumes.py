"""Divide what leaves into volumes, each a transfer bundle that stands alone.

Every volume brings the checkpoints, the tiles that prove them, and the tiles above
everything else in it: so whichever comes first can be authenticated by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import merge
from typing import Final

from appliance.errors import ArgumentError
from appliance.jobs.transfer.items import Item, in_order
from appliance.jobs.transfer.listing import Listing, Read
from appliance.jobs.transfer.plan import PlannedLog
from appliance.jobs.transfer.side_members import NO_SIDE_MEMBERS, SideMembers
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.tile import WIDTH, EntryBundle, Tile
from appliance.value import frozen
from bundles.manifest import Entries, LogPart, Tiles, TreeHeadRef, log_directory
from bundles.writer import Listed, occupied_bytes

FRONT_BYTES: Final = 24 * 1024  # header with room for more signatures, manifest, the end
LOG_BYTES: Final = 2048  # of the manifest, for each log, with its keys and what we have


@frozen
class Cargo:
    """What one volume brings: members in the order of the format, and what they are."""

    logs: tuple[LogPart, ...]
    members: Listing
    listed: Listed  # what there is to say of them
    side: SideMembers  # what of these is of no log
    windows: tuple[str, ...]  # what is remembered of the windows in it
    has_windows: bool

    @property
    def n_bytes(self) -> int:
        """How large its file is, unless it is compressed."""
        return FRONT_BYTES + self.members.occupied_bytes


class _Share:
    """What one volume has of one log: some of its items in a row, and tiles above them."""

    def __init__(self, log: PlannedLog, start: int) -> None:
        self.start = self.stop = start
        self.above: set[Item] = set(log.proof)  # that are not in that row
        self._uppers: set[Item] = set()  # that are

    def missing(self, log: PlannedLog, item: Item) -> list[Item]:
        """Return what has to come with the next item, and itself."""
        above: list[Item] = [
            one
            for one in log.above(item)
            if one not in self.above and one not in self._uppers and one != item
        ]
        if isinstance(item, EntryBundle):
            above = [one for one in above if one != item.tile]  # which follows from its entries
        return [*above, item]

    def take(self, found: Sequence[Item]) -> None:
        """Take the next item with what comes with it."""
        *above, item = found
        self.above.update(above)
        self.stop += 1
        if isinstance(item, Tile) and item.level:
            self._uppers.add(item)


class _Load:
    """A volume that is being filled."""

    def __init__(
        self, planned: Sequence[PlannedLog], side: SideMembers, starts: Sequence[int]
    ) -> None:
        self.side = side
        self.shares = [_Share(log, start) for log, start in zip(planned, starts, strict=True)]
        self.n_bytes = FRONT_BYTES + sum(map(occupied_bytes, side.members))
        self.has_more = False  # than what every volume has
        for log in planned:
            self.n_bytes += LOG_BYTES
            self.n_bytes += sum(map(occupied_bytes, (log.checkpoint, *log.consistency)))
            self.n_bytes += _cost(log, log.proof)

    def next(self, planned: Sequence[PlannedLog]) -> _Load:
        """Return the volume that begins where this ends."""
        return _Load(planned, NO_SIDE_MEMBERS, [share.stop for share in self.shares])


def divide(
    planned: Sequence[PlannedLog], side: SideMembers, limit: int | None, read: Read
) -> list[Cargo]:
    """Divide into volumes of at most `limit` bytes; None: one volume. `read` reads blobs.

    What travels besides the logs is in the first volume. Raises ConfigError if something
    does not fit into a volume at all.
    """
    loads = [_Load(planned, side, [0] * len(planned))]
    if limit is None:
        for share, log in zip(loads[0].shares, planned, strict=True):
            share.stop = len(log.items)
        return [_cargo(planned, loads[0], read)]
    for number, log in enumerate(planned):
        for item in log.items:
            new = loads[-1].shares[number].missing(log, item)
            cost = _cost(log, new)
            if loads[-1].has_more and loads[-1].n_bytes + cost > limit:
                loads.append(loads[-1].next(planned))
                new = loads[-1].shares[number].missing(log, item)
                cost = _cost(log, new)
            loads[-1].n_bytes += cost
            loads[-1].shares[number].take(new)
            loads[-1].has_more = True
            if loads[-1].n_bytes > limit:
                raise _too_small(planned, side, limit, log.members.member(item).path)
    if loads[0].n_bytes > limit:
        raise _too_small(planned, side, limit, "what proves the checkpoints")
    return [_cargo(planned, load, read) for load in loads]


def _cost(log: PlannedLog, items: Iterable[Item]) -> int:
    return sum(occupied_bytes(log.members.member(one)) for one in items)


def _too_small(
    planned: Sequence[PlannedLog], side: SideMembers, limit: int, what: str
) -> ArgumentError:
    least = _least(planned, side)
    return ArgumentError(
        f"a volume of {limit:,} bytes is too small: {what} and what has to travel with it"
        f" do not fit; the largest of what cannot be divided takes {least:,}",
        reason="volume-too-small",
        next_step=f"give --volume-size {least} or more",
    )


def _least(planned: Sequence[PlannedLog], side: SideMembers) -> int:
    """Return the size of volumes that everything fits into, each item with what is above it."""
    nothing = [0] * len(planned)
    first, other = _Load(planned, side, nothing), _Load(planned, NO_SIDE_MEMBERS, nothing)
    least, is_first = first.n_bytes, True
    for number, log in enumerate(planned):
        for item in log.items:
            alone = first if is_first else other
            new = other.shares[number].missing(log, item)
            least = max(least, alone.n_bytes + _cost(log, new))
            is_first = False
    return least


def _cargo(planned: Sequence[PlannedLog], load: _Load, read: Read) -> Cargo:
    members, parts = Listing(read), []
    members.add(*load.side.before)
    carried: list[str] = []
    has_windows = False
    for log, share in zip(planned, load.shares, strict=True):
        members.add(log.checkpoint, *log.consistency, *load.side.seen.get(log.origin, ()))
        told = _Told()
        items = merge(_beside(log, share), log.items.part(share.start, share.stop), key=in_order)
        members.describe(log_directory(log.origin), log.members, map(told.take, items))
        carried += told.carried
        has_windows = has_windows or told.n_windows > 0
        parts.append(
            LogPart(
                origin=log.origin,
                vkeys=log.vkeys,
                base=log.base,
                head=TreeHeadRef(log.head.head.tree_size, log.head.head.root_hash),
                tiles=Tiles(told.n_tiles, told.n_hashes * HASH_BYTES),
                entries=told.entries,
            )
        )
    members.add(*load.side.after)
    return Cargo(
        tuple(parts), members, members.end(), load.side, tuple(dict.fromkeys(carried)), has_windows
    )


def _beside(log: PlannedLog, share: _Share) -> list[Item]:
    """Return the tiles that come besides a share's row, but for those that follow from entries."""
    leaves = {one for one in share.above if isinstance(one, Tile) and one.level == 0}
    if leaves:
        row = log.items.part(share.start, share.stop)
        leaves &= {one.tile for one in row if isinstance(one, EntryBundle) and one.tile in leaves}
    return sorted(share.above - leaves, key=in_order)


class _Told:
    """Counts the items of one log in a volume."""

    def __init__(self) -> None:
        self.n_tiles = self.n_hashes = self.n_windows = 0
        self.entries: Entries | None = None  # in bundles
        self.carried: list[str] = []

    def take(self, item: Item) -> Item:
        """Count one more, and return it."""
        if isinstance(item, Tile):
            self.n_tiles += 1
            self.n_hashes += item.width
        elif isinstance(item, EntryBundle):
            start = item.index * WIDTH
            first = self.entries.start if self.entries else start
            self.entries = Entries(first, start + item.width)
        else:
            self.n_windows += 1
            self.carried += [item.carried] if item.carried else []
        return item
