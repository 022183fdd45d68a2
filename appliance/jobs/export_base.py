"""Choose where a delta starts: by what the far side is known to hold, else by what we sent.

Tied to log state, never to a count of files (TRANSFER.md 4): a lost stick costs nothing but
a larger delta. What the far side says it holds counts only if it is a prefix of ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.errors import ConfigError, IncompleteError
from appliance.store.checkpoints import AcceptedCheckpoint
from appliance.store.far_heads import far_heads
from appliance.store.mirror import Mirror
from appliance.store.transfers import exports_of
from appliance.tlog.tile_tree import TileTree
from appliance.value import field, frozen


@frozen
class BaseChoice:
    """How to choose where a delta starts. Nothing said: it is complete."""

    since_size: int | None = None  # of every log
    since: Mapping[str, int] = field(default_factory=dict)  # by origin, as a receipt says
    far_side: bool = False  # what the far side is known to hold, if it is known
    site: str | None = None  # only that far side; None: whichever holds least
    overlap: int | None = None  # else the head of this many exports ago; None: complete
    full_every: int | None = None  # so many exports in a row are not all deltas; None: they may


@frozen
class Base:
    """Where a delta of one log starts."""

    tree_size: int | None  # None: complete
    warnings: tuple[str, ...] = ()


def choose_base(
    mirror: Mirror, head: AcceptedCheckpoint, choice: BaseChoice, besides: str = ""
) -> Base:
    """Choose the base of one log; raises ConfigError if one that was given is beyond the head."""
    head_size = head.head.tree_size
    warnings: list[str] = []
    size: int | None = None
    if choice.since_size is not None:
        if choice.since_size > head_size:
            raise ConfigError(
                f"--since-size {choice.since_size}: the mirror of {mirror.log.origin} has only"
                f" {head_size} entries",
                reason="base-beyond-head",
            )
        size = choice.since_size
    elif mirror.log.origin in choice.since:
        size = choice.since[mirror.log.origin]
    elif not _is_turn_of_full(mirror, choice, besides):
        if choice.far_side:
            size, warnings = _held_there(mirror, head, choice.site)
        if size is None and choice.overlap is not None:
            earlier = exports_of(mirror.store, mirror.log.origin, besides=besides)
            if len(earlier) >= choice.overlap:
                size = earlier[choice.overlap - 1].head_size
    # A base of nothing is no base, and one beyond us gets what there is: nothing new.
    return Base(min(size, head_size) if size else None, tuple(warnings))


def mirror_root(mirror: Mirror, head: AcceptedCheckpoint, tree_size: int) -> bytes:
    """Return the root of a prefix of the exported tree; raises IncompleteError without tiles."""
    if known := mirror.history.at(tree_size):
        return known.head.root_hash
    return TileTree(head.head).root_at(tree_size, mirror.read_tiles)


def _is_turn_of_full(mirror: Mirror, choice: BaseChoice, besides: str) -> bool:
    if choice.full_every is None:
        return False
    last = exports_of(mirror.store, mirror.log.origin, besides=besides)[: choice.full_every - 1]
    return len(last) == choice.full_every - 1 and all(one.base_size is not None for one in last)


def _held_there(
    mirror: Mirror, head: AcceptedCheckpoint, site: str | None
) -> tuple[int | None, list[str]]:
    """Return the smallest size that a far side holds, with a warning where its tree is not ours."""
    sizes, warnings = [], []
    known = far_heads(mirror.store, mirror.log.origin)
    if site is not None and site not in {far.site for far in known}:
        names = ", ".join(far.site for far in known) or "no other site either"
        warnings.append(
            f"{site} never said what it holds of {mirror.log.origin} (who did: {names}):"
            " this starts where it would without --to"
        )
    for far in known:
        if site is not None and far.site != site:
            continue
        if far.tree_size > head.head.tree_size:
            sizes.append(head.head.tree_size)
            continue
        try:
            ours = mirror_root(mirror, head, far.tree_size)
        except IncompleteError:
            warnings.append(
                f"{far.site} holds {mirror.log.origin} up to {far.tree_size}, which cannot be"
                " compared without the tiles: this does not continue from there"
            )
            continue
        if ours == far.root_hash:
            sizes.append(far.tree_size)
        else:
            warnings.append(
                f"{far.site} says it holds another tree of {mirror.log.origin} at size"
                f" {far.tree_size}: one of you was shown a fork; compare both checkpoints"
            )
    return (min(sizes) if sizes else None), warnings
