"""Plan an export: what of one log has to leave, as members of the format.

Digests come from rows, so nothing is read twice. Of everything beyond the tiles that prove
the head it is known which tiles above it authenticate it, for volumes that stand alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from appliance.errors import IncompleteError
from appliance.jobs.our_tree import is_without_tiles, our_tree
from appliance.jobs.transfer.consistency_member import (
    consistency_member,
    format_consistency,
    proofs_from,
)
from appliance.jobs.transfer.item_members import (
    ItemMembers,
    TileMembers,
    WindowMembers,
    in_memory,
)
from appliance.jobs.transfer.items import (
    Item,
    Items,
    Run,
    in_order,
    new_entry_bundle_runs,
    new_tile_runs,
    run_of,
)
from appliance.jobs.transfer.source import checkpoint_member
from appliance.jobs.transfer.window_members import (
    Window,
    due_windows,
    window_member,
    window_of,
)
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.mirror import Mirror
from appliance.store.transfer.transfers import exported_heads, exports_of, far_heads
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.proof import NodeId, consistency_plan, inclusion_plan, perfect_nodes
from appliance.tlog.tile import WIDTH, EntryBundle, Tile, edge_tiles, entry_bundle_at
from appliance.tlog.tile_tree import TileTree
from appliance.value import field, frozen, replaced
from bundles.manifest import TreeHeadRef, log_directory
from bundles.writer import Member


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
class DeltaStart:
    """Where a delta of one log starts."""

    tree_size: int | None  # None: complete
    warnings: tuple[str, ...] = ()


def choose_base(
    mirror: Mirror, head: AcceptedCheckpoint, choice: BaseChoice, side: str = ""
) -> DeltaStart:
    """Choose the base of one log; raises IncompleteError if one that was given is beyond it."""
    head_size = head.head.tree_size
    warnings: list[str] = []
    size: int | None = None
    if choice.since_size is not None:
        if choice.since_size > head_size:
            raise IncompleteError(
                f"--base {choice.since_size}: the mirror of {mirror.log.origin} has only"
                f" {head_size} entries",
                reason="base-beyond-head",
                next_step=f"name a size up to {head_size}, or run 'attestor sync' first",
            )
        size = choice.since_size
    elif mirror.log.origin in choice.since:
        size = choice.since[mirror.log.origin]
    elif not _is_turn_of_full(mirror, choice, side):
        if choice.far_side:
            size, warnings = _held_there(mirror, head, choice.site)
        if size is None and choice.overlap is not None:
            earlier = exports_of(mirror.store, mirror.log.origin, side=side)
            if len(earlier) >= choice.overlap:
                size = earlier[choice.overlap - 1].head_size
    # A base of nothing is no base, and one beyond us gets what there is: nothing new.
    return DeltaStart(min(size, head_size) if size else None, tuple(warnings))


def mirror_root(mirror: Mirror, head: AcceptedCheckpoint, tree_size: int) -> bytes:
    """Return the root of a prefix of the exported tree; raises IncompleteError without tiles."""
    if known := mirror.history.at(tree_size):
        return known.head.root_hash
    return our_tree(mirror, head.head).root_at(tree_size)


def _is_turn_of_full(mirror: Mirror, choice: BaseChoice, side: str) -> bool:
    if choice.full_every is None:
        return False
    last = exports_of(mirror.store, mirror.log.origin, side=side)[: choice.full_every - 1]
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
            " this starts where it would without --base site:NAME"
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


MAX_STANDS: Final = 4  # sizes of earlier exports that every export proves itself from


@frozen
class PlannedLog:
    """What leaves of one log."""

    origin: str
    vkeys: tuple[str, ...]
    base: TreeHeadRef | None
    head: AcceptedCheckpoint
    checkpoint: Member
    consistency: tuple[Member, ...]  # of a log without tiles: proves the head from the base
    proof: frozenset[Tile]  # prove the head from the base
    items: Items  # what else: tiles top down, then entry bundles; or windows
    members: ItemMembers  # describes all of these
    above: Callable[[Item], tuple[Tile, ...]]  # the tiles that authenticate it
    warnings: tuple[str, ...] = ()
    window_entries: int = 0  # of a log without tiles


@frozen
class ProvenEntry:
    """An entry that somebody on the far side has a Sigstore bundle of."""

    origin: str
    entry_index: int
    tree_size: int  # of the checkpoint in that bundle; 0: it has none
    leaf: Hash  # of the entry that is in that bundle
    note: bytes  # that checkpoint


@frozen
class Contents:
    """What to take of each log."""

    tiles: bool = True  # hash tiles beyond those that prove the head
    entries: bool = False  # entry bundles as well
    proven: tuple[ProvenEntry, ...] | None = None  # only what proves these; None: all


def plan_log(mirror: Mirror, choice: BaseChoice, contents: Contents, side: str) -> PlannedLog:
    """Plan what leaves of one log, up to the head its mirror covers.

    `side` is a volume set that is made again. Raises IncompleteError if there is nothing to
    export, if an entry that is to be proven is not covered, or if the base is beyond the head.
    """
    head = require_head(mirror)
    base = choose_base(mirror, head, choice, side)
    start, stop = base.tree_size or 0, head.head.tree_size
    directory = log_directory(mirror.log.origin)
    if is_without_tiles(mirror):
        return _plan_without_tiles(mirror, head, base, contents, side)
    tree = TileTree(head.head)
    # Where the far side stands between base and head nobody knows: mostly where one of the
    # last exports brought it.
    stands = exported_heads(mirror.store, mirror.log.origin, stop, MAX_STANDS)
    proof = proof_tiles(head.head, {start, *(size for size in stands if size > start)})
    runs: list[Run] = []
    if contents.proven is None:
        # Listed once all of it is known to be here: a head that no tiles cover may claim any size.
        if contents.tiles:
            mirror.require_all(mirror.missing_tiles(stop, start))
            runs += new_tile_runs(start, stop, proof, leaves=not contents.entries)
        if contents.entries:
            mirror.require_all(mirror.missing_entry_bundles(stop, start))
            runs += new_entry_bundle_runs(start, stop)
    else:
        wanted = [one for one in contents.proven if one.origin == mirror.log.origin]
        _require_covered(mirror, wanted, stop)
        bundles = _bundles_of(wanted, stop) if contents.entries else []
        follow = {bundle.tile for bundle in bundles}
        runs = [run_of(top_down(_proving(tree, wanted) - proof - follow)), run_of(bundles)]
    return PlannedLog(
        origin=mirror.log.origin,
        vkeys=tuple(key.vkey for key in mirror.log.keys),
        base=TreeHeadRef(start, mirror_root(mirror, head, start)) if start else None,
        head=head,
        checkpoint=in_memory(checkpoint_member(directory), mirror.history.newest_note(stop)),
        consistency=(),
        proof=frozenset(proof),
        items=Items(runs),
        members=TileMembers(mirror, directory),
        above=partial(_above, tree),
        warnings=base.warnings,
    )


def _above(tree: TileTree, item: Item) -> tuple[Tile, ...]:
    """Return the tiles that authenticate an item; a window has its proofs with it."""
    if isinstance(item, Window):
        return ()
    return tree.parents(item.tile if isinstance(item, EntryBundle) else item)


def _plan_without_tiles(
    mirror: Mirror, head: AcceptedCheckpoint, base: DeltaStart, contents: Contents, side: str
) -> PlannedLog:
    """Plan what leaves of a log that serves no tiles: its head, and what proves it."""
    start, stop = base.tree_size or 0, head.head.tree_size
    directory = log_directory(mirror.log.origin)
    wanted = [one for one in contents.proven or () if one.origin == mirror.log.origin]
    _require_covered(mirror, wanted, stop)
    stands = exported_heads(mirror.store, mirror.log.origin, stop, MAX_STANDS)
    bundles = [one.tree_size for one in wanted]
    # A proof from a power of two leaves its root out; that of one more has it.
    beside = [size + 1 for size in bundles if size.bit_count() == 1 and size + 1 < stop]
    sizes = {start, *stands, *bundles, *beside} - {0, stop}
    proofs = proofs_from(our_tree(mirror, head.head), sizes)
    if start not in (0, stop) and start not in proofs:
        our_tree(mirror, head.head).prove_consistency(start)  # says what is missing
    member = in_memory(consistency_member(directory), format_consistency(proofs))
    windows, warnings = _windows(mirror, head, base, contents, side)
    return PlannedLog(
        origin=mirror.log.origin,
        vkeys=tuple(key.vkey for key in mirror.log.keys),
        base=TreeHeadRef(start, mirror_root(mirror, head, start)) if start else None,
        head=head,
        checkpoint=in_memory(checkpoint_member(directory), mirror.history.newest_note(stop)),
        consistency=(member,),
        proof=frozenset(),
        items=Items([run_of(tuple(windows))]),
        members=WindowMembers(windows),
        above=partial(_above, TileTree(head.head)),
        warnings=(*base.warnings, *warnings),
        window_entries=sum(one.stop - one.start for one in windows),
    )


def _windows(
    mirror: Mirror, head: AcceptedCheckpoint, base: DeltaStart, contents: Contents, side: str
) -> tuple[dict[Window, Member], list[str]]:
    """Return the windows that leave, as members, with a warning for what nothing here proves."""
    if contents.proven is not None:
        wanted = [one for one in contents.proven if one.origin == mirror.log.origin]
        indices = sorted({one.entry_index for one in wanted})
        chosen = [window for index in indices for window in window_of(mirror, index)]
    elif contents.tiles:
        chosen = list(due_windows(mirror, everything=base.tree_size is None, side=side))
    else:
        chosen = []
    tree, directory = our_tree(mirror, head.head), log_directory(mirror.log.origin)
    members: dict[Window, Member] = {}
    stay: list[Window] = []
    for window in chosen:
        try:
            members[window] = window_member(mirror, tree, window, directory)
        except IncompleteError:
            stay.append(window)
    unproven = sum(one.stop - one.start for one in stay)
    # What stands beside something that stays leaves with it again.
    not_whole = {one.carried for one in stay}
    found = {
        replaced(one, carried="") if one.carried in not_whole else one: member
        for one, member in members.items()
    }
    if not unproven:
        return found, []
    return found, [
        f"{mirror.log.origin}: {unproven:,} entries of windows stay, for nothing here proves them"
        f" under its head of {head.head.tree_size:,}: run 'attestor sync', or fetch them again"
    ]


def require_head(mirror: Mirror) -> AcceptedCheckpoint:
    """Return the head that is exported; raises IncompleteError if there is none."""
    head = mirror.history.mirror_checkpoint() or mirror.history.accepted()
    if head is None:
        raise IncompleteError(
            f"nothing of {mirror.log.origin} is here to export",
            reason="nothing-to-export",
            next_step="run 'attestor sync' first",
        )
    return head


def top_down(tiles: Iterable[Tile]) -> list[Tile]:
    """Order tiles so that each comes after those that authenticate it."""
    return sorted(tiles, key=in_order)


def proof_tiles(head: TreeHead, sizes: Iterable[int]) -> set[Tile]:
    """Return the tiles that let the far side prove the head from trees of these sizes."""
    wanted = set(edge_tiles(head.tree_size))
    tree = TileTree(head)
    for size in sizes:
        for leaves in (range(size), *consistency_plan(size, head.tree_size)):
            for node in perfect_nodes(leaves):
                wanted.update(tree.parents(tree.node_tile(node)))
    return wanted


def _require_covered(mirror: Mirror, wanted: Iterable[ProvenEntry], tree_size: int) -> None:
    for one in wanted:
        reaches = max(one.entry_index + 1, one.tree_size)
        if reaches > tree_size:
            raise IncompleteError(
                f"the Sigstore bundle speaks of {mirror.log.origin} at {reaches} entries, the"
                f" mirror has {tree_size}",
                reason="not-covered",
                next_step="run 'attestor sync --full-tiles' first",
            )


def _bundles_of(wanted: Iterable[ProvenEntry], tree_size: int) -> list[EntryBundle]:
    return [
        entry_bundle_at(index, tree_size)
        for index in sorted({one.entry_index // WIDTH for one in wanted})
    ]


def _proving(tree: TileTree, wanted: Iterable[ProvenEntry]) -> set[Tile]:
    """Return the tiles that prove entries, and the tree heads they were proven under before."""
    tiles: set[Tile] = set()
    for one in wanted:
        nodes = [NodeId(0, one.entry_index)]
        if one.tree_size <= tree.head.tree_size:
            nodes += perfect_nodes(range(one.tree_size))
        for leaves in inclusion_plan(one.entry_index, tree.head.tree_size):
            nodes += perfect_nodes(leaves)
        for node in nodes:
            tiles.update(tree.parents(tree.node_tile(node)))
    return tiles
