"""Which log each mirror log (mirrorOrigins) copies, and which nothing is compared with.

A mirror log has an origin and a key of its own, so only its tree says whose copy it is. Beside
one log there is no question. Beside several it is the one whose tree it has at their common
size, else the one it began with; if it has the tree of none, it contradicts them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from appliance.config.configuration import Configuration
from appliance.errors import CorruptError, IncompleteError
from appliance.jobs.home.configure import read_configuration
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.our_tree import our_tree
from appliance.policy.health import Uncompared
from appliance.store.database import Store
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.logs import Log, all_backends
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import all_private_logs
from appliance.tlog.merkle import Hash
from appliance.value import frozen


@frozen
class Pair:
    """A mirror log and a log that it copies, or should: their roots at their common size."""

    primary: Log
    mirror: Log
    heads: tuple[AcceptedCheckpoint, AcceptedCheckpoint]  # of the primary, of the mirror
    tree_size: int  # the smaller of both
    roots: tuple[Hash | None, Hash | None]  # there; None: no tiles tell
    instead_of: tuple[Log, ...] = ()  # the others that it has the tree of as little

    @property
    def agrees(self) -> bool | None:
        """Whether they have one tree as far as both go; None: nothing tells."""
        ours, theirs = self.roots
        return None if ours is None or theirs is None else ours == theirs


def pairs(store: Store, configuration: Configuration) -> tuple[list[Pair], list[Uncompared]]:
    """Pair each mirror log with its log; list those that nothing is compared with, and why.

    Logs that no enabled backend serves do not count, nor do logs of this home. Raises
    CorruptError if our own tiles are damaged, and StoreError.
    """
    origins = configuration.mirror_origins
    if not origins or not (
        configuration.flag("divergenceDetection.enabled")
        and configuration.flag("divergenceDetection.enableCrossLogChecks")
    ):
        return [], []
    backends = all_backends(store)
    served = {one.log.origin: one.log for one in backends if one.enabled}
    private = {one.log.id for one in all_private_logs(store)}
    logs = [one for origin, one in sorted(served.items()) if one.id not in private]
    primaries = [one for one in logs if one.origin not in origins]
    found: list[Pair] = []
    lacking: list[Uncompared] = []
    for origin in dict.fromkeys(origins):
        mirror = next((one for one in logs if one.origin == origin), None)
        if mirror is None:
            if all(one.log.origin != origin for one in backends):
                lacking.append(Uncompared(origin, "no backend has it"))
        elif not primaries:
            lacking.append(Uncompared(origin, "every other log is a mirror as well"))
        elif (theirs := Mirror(store, mirror).history.accepted()) is not None:
            pair, why = _pair(store, primaries, mirror, theirs)
            if pair is not None:
                found.append(pair)
            elif why:
                lacking.append(Uncompared(origin, why))
    return found, lacking


def uncompared(store: Store, configuration: Configuration) -> Sequence[Uncompared]:
    """List the mirror logs that nothing is compared with. Raises StoreError."""
    try:
        return pairs(store, configuration)[1]
    except CorruptError:  # told where the tiles are looked after
        return ()


def compared_pairs(store: Store) -> Sequence[Pair]:
    """List each mirror log that is compared, with its log. Raises StoreError."""
    try:
        return pairs(store, read_configuration(store))[0]
    except CorruptError:
        return ()


def _pair(
    store: Store, primaries: Sequence[Log], mirror: Log, theirs: AcceptedCheckpoint
) -> tuple[Pair | None, str]:
    """Return the pair of a mirror log, or why there is none; '': its only log is not here yet."""
    known = list(_compared(store, primaries, mirror, theirs))
    if len(primaries) == 1:
        return (known[0] if known else None), ""
    same = [one for one in known if one.agrees and one.tree_size]
    began = same or [one for one in known if _began_as_one(store, one)]
    if began:
        return began[0], ""
    told = {one.primary.origin for one in known if one.agrees is False}
    if unknown := [one.origin for one in primaries if one.origin not in told]:
        return None, f"it has no tree of another log here yet, and could copy {_any(unknown)}"
    first, *others = known
    return _instead_of(first, [one.primary for one in others]), ""


def _compared(
    store: Store, primaries: Sequence[Log], mirror: Log, theirs: AcceptedCheckpoint
) -> Iterator[Pair]:
    for primary in primaries:
        ours = Mirror(store, primary).history.accepted()
        if ours is not None:
            size = min(ours.head.tree_size, theirs.head.tree_size)
            roots = _root_at(store, primary, ours, size), _root_at(store, mirror, theirs, size)
            yield Pair(primary, mirror, (ours, theirs), size, roots)


def _began_as_one(store: Store, pair: Pair) -> bool:
    """Whether two trees that are not the same have the first entry, or a head of old, in common."""
    if not pair.tree_size:
        return False
    ours, theirs = (
        _root_at(store, log, head, 1)
        for log, head in zip((pair.primary, pair.mirror), pair.heads, strict=True)
    )
    if ours is not None and theirs is not None:
        return ours == theirs
    histories = [Mirror(store, log).history for log in (pair.primary, pair.mirror)]
    for size in set(histories[0].accepted_sizes(above=0)) & set(
        histories[1].accepted_sizes(above=0)
    ):
        heads = [history.at(size) for history in histories]
        if heads[0] is not None and heads[1] is not None and heads[0].head == heads[1].head:
            return True
    return False


def _root_at(store: Store, log: Log, accepted: AcceptedCheckpoint, size: int) -> Hash | None:
    mirror = Mirror(store, log)
    if (known := mirror.history.at(size)) is not None:
        return known.head.root_hash
    try:
        return told_apart(mirror, lambda: our_tree(mirror, accepted.head).root_at(size))
    except IncompleteError:
        return None  # without tiles they meet at a size that both signed, or not at all


def _instead_of(pair: Pair, others: Sequence[Log]) -> Pair:
    return Pair(pair.primary, pair.mirror, pair.heads, pair.tree_size, pair.roots, tuple(others))


def _any(origins: Sequence[str]) -> str:
    return " or ".join(origins)
