"""Divide what leaves into volumes, each a transfer bundle that stands alone.

Every volume brings the checkpoints, the tiles that prove them, and the tiles above
everything else in it: so whichever comes first can be authenticated by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.errors import ArgumentError
from appliance.jobs.transfer.plan import Item, PlannedLog, top_down
from appliance.jobs.transfer.side_members import NO_SIDE_MEMBERS, SideMembers
from appliance.jobs.transfer.window_members import Window
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.tile import WIDTH, EntryBundle, Tile
from appliance.value import frozen
from bundles.manifest import Entries, LogPart, Tiles, TreeHeadRef
from bundles.ustar import BLOCK_BYTES, padding_bytes
from bundles.writer import Member

FRONT_BYTES: Final = 24 * 1024  # header with room for more signatures, manifest, the end
LOG_BYTES: Final = 2048  # of the manifest, for each log, with its keys and what we have


@frozen
class Cargo:
    """What one volume brings: members in the order of the format, and what they are."""

    logs: tuple[LogPart, ...]
    members: tuple[Member, ...]
    side: SideMembers  # what of these is of no log
    windows: tuple[str, ...]  # what is remembered of the windows in it

    @property
    def n_bytes(self) -> int:
        """How large its file is, unless it is compressed."""
        return FRONT_BYTES + sum(map(_cost, self.members))


class _Load:
    """A volume that is being filled."""

    def __init__(self, planned: Sequence[PlannedLog], side: SideMembers) -> None:
        self.side = side
        self.items: list[set[Item]] = [set(log.proof) for log in planned]
        self.n_bytes = FRONT_BYTES + sum(map(_cost, side.members))
        self.has_more = False  # than what every volume has
        for log in planned:
            self.n_bytes += LOG_BYTES + sum(map(_cost, (log.checkpoint, *log.consistency)))
            self.n_bytes += sum(_cost(log.member(tile)) for tile in log.proof)


def divide(planned: Sequence[PlannedLog], side: SideMembers, limit: int | None) -> list[Cargo]:
    """Divide into volumes of at most `limit` bytes; None: one volume.

    What travels besides the logs is in the first volume. Raises ConfigError if something
    does not fit into a volume at all.
    """
    if limit is None:
        return [_cargo(planned, [{*log.proof, *log.items} for log in planned], side)]
    loads = [_Load(planned, side)]
    for number, log in enumerate(planned):
        for item in log.items:
            new = _missing(loads[-1].items[number], log, item)
            cost = sum(_cost(log.member(one)) for one in new)
            if loads[-1].has_more and loads[-1].n_bytes + cost > limit:
                loads.append(_Load(planned, NO_SIDE_MEMBERS))
                new = _missing(loads[-1].items[number], log, item)
                cost = sum(_cost(log.member(one)) for one in new)
            loads[-1].n_bytes += cost
            loads[-1].items[number].update(new)
            loads[-1].has_more = True
            if loads[-1].n_bytes > limit:
                raise _too_small(planned, side, limit, log.member(item).path)
    if loads[0].n_bytes > limit:
        raise _too_small(planned, side, limit, "what proves the checkpoints")
    return [_cargo(planned, load.items, load.side) for load in loads]


def _missing(there: set[Item], log: PlannedLog, item: Item) -> list[Item]:
    above: list[Item] = [one for one in log.above(item) if one not in there and one != item]
    if isinstance(item, EntryBundle):
        above = [one for one in above if one != item.tile]  # which follows from its entries
    return [*above, item]


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
    first, other = _Load(planned, side), _Load(planned, NO_SIDE_MEMBERS)
    least, is_first = first.n_bytes, True
    for number, log in enumerate(planned):
        for item in log.items:
            new = _missing(other.items[number], log, item)
            alone = first if is_first else other
            least = max(least, alone.n_bytes + sum(_cost(log.member(one)) for one in new))
            is_first = False
    return least


def _cost(member: Member) -> int:
    """Return how many bytes of an archive a member takes up, with its line in SHA256SUMS."""
    return BLOCK_BYTES + member.size + padding_bytes(member.size) + 67 + len(member.path)


def _cargo(planned: Sequence[PlannedLog], items: Sequence[set[Item]], side: SideMembers) -> Cargo:
    parts, members = [], list(side.before)
    carried: list[str] = []
    for log, its in zip(planned, items, strict=True):
        bundles = sorted(one for one in its if isinstance(one, EntryBundle))
        implied = {bundle.tile for bundle in bundles}
        tiles = [one for one in its if isinstance(one, Tile) and one not in implied]
        members += [log.checkpoint, *log.consistency, *side.seen.get(log.origin, ())]
        members += map(log.member, top_down(tiles))
        members += map(log.member, bundles)
        windows = [one for one in its if isinstance(one, Window)]
        members += map(log.member, sorted(windows, key=lambda one: one.start))
        carried += [one.carried for one in windows if one.carried]
        parts.append(
            LogPart(
                origin=log.origin,
                vkeys=log.vkeys,
                base=log.base,
                head=TreeHeadRef(log.head.head.tree_size, log.head.head.root_hash),
                tiles=Tiles(len(tiles), sum(tile.width * HASH_BYTES for tile in tiles)),
                entries=_range(bundles),
            )
        )
    return Cargo(tuple(parts), (*members, *side.after), side, tuple(dict.fromkeys(carried)))


def _range(bundles: Sequence[EntryBundle]) -> Entries | None:
    if not bundles:
        return None
    last = bundles[-1]
    return Entries(bundles[0].index * WIDTH, last.index * WIDTH + last.width)
