"""Absorb a log's newest checkpoint, and the tiles under it, into its mirror.

This is sync with a server for a source and import with a transfer bundle for one. The order
of the lines is the safety argument: open, authenticate tiles under the candidate, relate to
what we accepted, keep evidence or accept, and only then store more under the accepted head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from appliance.errors import (
    ApplianceError,
    CorruptError,
    IncompleteError,
    MalformedError,
    ProofError,
    RefusedError,
    RemoteError,
)
from appliance.jobs.divergence.frozen_growth import refuse_beyond_window, report_growth
from appliance.jobs.divergence.incident import ConsistencyProof, Incident, report_incident
from appliance.jobs.local_tiles import our_root_at, ours_or_theirs
from appliance.jobs.mirror.fill import Filled, Wanted, fetch_tiles, fill
from appliance.jobs.opened_notes import open_note_of, quorum_time_of, verify_quorum_of
from appliance.jobs.our_tree import our_tree
from appliance.jobs.progress import SILENT, Progress
from appliance.jobs.proven_root import proven_root
from appliance.policy.relate import Contradiction, Relation, relate
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.divergence.seen import remember_seen
from appliance.store.home.clock import SIGNED, raise_floor
from appliance.store.mirror.checkpoints import AcceptedCheckpoint, Arrival
from appliance.store.mirror.mirror import Mirror
from appliance.store.revoked_keys import revoked_keys
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.leaf_ranges import of_consistency
from appliance.tlog.log_source import LogSource, ProvingSource
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.proof import verify_consistency
from appliance.tlog.shared_leaves import shared_leaves
from appliance.tlog.tile import EntryBundle, Tile
from appliance.tlog.tile_tree import TileTree
from appliance.tlog.tlog_policy import parse_tlog_policy
from appliance.value import frozen, replaced


@frozen
class AbsorbReport:
    """What one absorption did."""

    origin: str
    relation: Relation
    tree_size: int  # of the checkpoint that was offered
    old_size: int | None  # accepted before; None: nothing was
    accepted_size: int  # accepted now
    mirror_size: int | None  # fully covered by tiles now; None: no accepted size is
    tiles: int  # newly stored
    entry_bundles: int  # newly stored
    complete: bool  # nothing wanted is missing any more
    warnings: tuple[str, ...] = ()  # what was found that is no failure

    @property
    def is_change(self) -> bool:
        """Whether the accepted head moved, or anything was stored."""
        return self.old_size != self.accepted_size or self.tiles + self.entry_bundles > 0


def absorb(
    mirror: Mirror,
    source: LogSource,
    arrival: Arrival,
    wanted: Wanted,
    progress: Progress = SILENT,
) -> AbsorbReport:
    """Bring `mirror` up to the checkpoint `source` offers, as far as `wanted` goes.

    Can die anywhere and be run again. Raises DivergenceError, evidence stored and head
    unmoved, if the log contradicts what we accepted, or evidence stored and head moved if it
    grew after it said that it never would; SignatureError, ProofError or MalformedError for
    bytes that are wrong; RemoteError or IncompleteError for what could not be had;
    RefusedError if the log's policy wants witnesses that did not cosign, or the log is
    quarantined; CorruptError if our own tiles are damaged. Whatever was stored before one of
    these stays: it is authenticated.
    """
    offer = _examine(mirror, source, arrival)
    broken_word = None
    if offer.accepted is not None and offer.relation is Relation.AHEAD:
        # Before the head moves: if we die in between, the next run finds the same again.
        broken_word = report_growth(mirror, offer.accepted, offer.candidate, arrival)
    stored = 0
    if offer.relation in (Relation.FIRST, Relation.AHEAD):
        # If we die before this commits, the mirror stands where it did.
        mirror.accept(offer.candidate, arrival, offer.tiles, ranges=offer.ranges)
        # If we die after it, the next run finds the rest missing and fetches it.
        stored = len(offer.tiles)
    elif not isinstance(source, ProvingSource) or offer.relation is Relation.BEHIND:
        mirror.record_note(offer.candidate, arrival, offer.ranges)
    else:  # signed anew at every read: the note that is here says the same
        mirror.record_answer(arrival)
    if broken_word is not None:
        with contextlib.suppress(ApplianceError):  # what is missing comes with the next run
            fill(mirror, offer.tree, source, wanted, progress)
        raise broken_word
    if isinstance(source, ProvingSource):
        filled = Filled()  # it has no tiles, and nothing more is wanted of it
    elif offer.relation is not Relation.BEHIND:
        filled = fill(mirror, offer.tree, source, wanted, progress)
    elif wanted.from_older and offer.accepted is not None:
        tree = TileTree(offer.accepted.head)
        filled = fill(mirror, tree, source, _below(mirror, tree, wanted), progress)
    else:
        filled = Filled()
    if offer.damage is not None:
        raise offer.damage
    return _report(mirror, offer, stored + filled.tiles, filled.entry_bundles, filled.complete)


def preview(mirror: Mirror, source: LogSource, arrival: Arrival) -> AbsorbReport:
    """Say what absorb would find and how many tiles it would miss, and store none of it.

    Raises what absorb raises; the evidence of a contradiction is kept even so.
    """
    offer = _examine(mirror, source, arrival)
    missing = 0
    if offer.relation is not Relation.BEHIND:
        missing = mirror.count_missing(offer.candidate.head.tree_size)
    return _report(mirror, offer, missing, 0, missing == 0)


def _below(mirror: Mirror, tree: TileTree, wanted: Wanted) -> Wanted:
    """Want of an older head only what can be authenticated under ours: full tiles, mostly."""

    def has(item: Tile | EntryBundle) -> bool:
        tile = item.tile if isinstance(item, EntryBundle) else item
        *above, _ = tree.parents(tile)
        return wanted.has(item) and all(mirror.has_tile(one) or wanted.has(one) for one in above)

    return replaced(wanted, has=has)


@frozen
class _Offer:
    """A checkpoint that was opened and placed next to ours, and the tiles that took."""

    candidate: SignedCheckpoint
    relation: Relation
    tree: TileTree  # under the candidate's head, its right edge authenticated
    tiles: dict[Tile, bytes]  # authenticated under the candidate, unless it is behind
    accepted: AcceptedCheckpoint | None  # ours, before
    damage: CorruptError | None  # of ours, met on the way; the source's tiles stood in
    ranges: dict[tuple[int, int], Hash]  # that a proof without tiles gave hashes of


def _examine(mirror: Mirror, source: LogSource, arrival: Arrival) -> _Offer:
    """Open what the source offers and place it; raises DivergenceError, evidence stored."""
    log = mirror.log
    candidate = open_note_of(mirror.store, log, source.checkpoint())
    accepted = mirror.history.accepted()
    tree, fetched = TileTree(candidate.head), _Fetched(source)
    proves = source if isinstance(source, ProvingSource) else None
    prefix = _Prefix()
    if proves is not None:
        prefix.prove(mirror, accepted, candidate.head, proves)
    else:
        prefix.compute(mirror, accepted, tree, fetched)
    if prefix.damage is not None and prefix.root is None:
        raise prefix.damage  # it is our own doing that nothing can be said
    if prefix.root is None and accepted and accepted.head.tree_size != candidate.head.tree_size:
        with mirror.store.atomic():  # compared once our tree can tell
            remember_seen(mirror.store, log, candidate, arrival)
        raise _not_placed(candidate.head, arrival)
    relation = relate(accepted.head if accepted else None, candidate.head, prefix.root)
    if accepted is not None and isinstance(relation, Contradiction):
        raise report_incident(
            mirror,
            Incident(
                relation,
                prefix.counterpart or accepted,
                candidate,
                arrival,
                source.exchange,
                _proof(relation, accepted.head, tree, prefix),
                lambda: (
                    _shared_leaves(mirror, accepted.head, tree, fetched)
                    if proves is None
                    else _shared_sizes(mirror, candidate.head, proves)
                ),
            ),
        )
    if isinstance(relation, Contradiction):
        raise ValueError("nothing was accepted that could be contradicted")
    if accepted is not None and relation is Relation.AHEAD:
        refuse_beyond_window(mirror, accepted, candidate)
    # Only now: a log that contradicts itself does so with witnesses and without.
    if log.policy is not None:
        policy = parse_tlog_policy(log.policy).without(revoked_keys(mirror.store))
        verify_quorum_of(mirror.store, candidate, policy, log.keys)
        proven_at = quorum_time_of(mirror.store, [candidate], policy.without(log.keys))
        if proven_at is not None:
            with mirror.store.atomic():
                who = f"a quorum of witnesses of {log.origin}"
                raise_floor(mirror.store, SIGNED, proven_at, who)
    _refuse_quarantined(mirror, relation, candidate.head, arrival)
    if relation in (Relation.FIRST, Relation.AHEAD) and proves is None:
        tree.load([], fetched)  # the right edge, if no proof has needed it yet
    return _Offer(candidate, relation, tree, fetched.tiles, accepted, prefix.damage, prefix.ranges)


def _not_placed(offered: TreeHead, arrival: Arrival) -> IncompleteError:
    """Say that an older head could be neither proven nor disproven: that is no contradiction."""
    return IncompleteError(
        f"{arrival.detail} offers an older checkpoint of {offered.tree_size:,} entries, and no"
        " tiles, here or there, show whether it is of the tree that was accepted; nothing was"
        " taken",
        reason="not-placed",
        next_step="a replica that lags will catch up; to be able to tell: attestor sync"
        " --full-tiles, once the log answers with its newest checkpoint",
    )


def _refuse_quarantined(
    mirror: Mirror, relation: Relation, offered: TreeHead, arrival: Arrival
) -> None:
    """Say what an honest offer would have been, and take nothing while the log is quarantined."""
    held = quarantine_of(mirror.store, mirror.log)
    if held is None:
        return
    says = {
        Relation.AHEAD: "continues what we accepted, which is proven",
        Relation.SAME: "is what we accepted",
        Relation.BEHIND: "is a proven prefix of what we accepted",
        Relation.FIRST: "is the first",
    }[relation]
    raise RefusedError(
        f"{mirror.log.origin} is quarantined beyond {held.last_common_size:,} entries since it"
        f" contradicted itself (alert {held.alert_number}); the checkpoint of"
        f" {offered.tree_size:,} that {arrival.detail} offers {says}, and nothing was taken",
        reason="quarantined",
        next_step=f"find out which story is true (docs/runbook.md), then: attestor quarantine lift"
        f" {held.id} --reason TEXT",
    )


def _report(
    mirror: Mirror, offer: _Offer, tiles: int, entry_bundles: int, complete: bool
) -> AbsorbReport:
    now_accepted = mirror.history.accepted()
    now_mirrored = mirror.history.mirror_checkpoint()
    return AbsorbReport(
        mirror.log.origin,
        offer.relation,
        offer.candidate.head.tree_size,
        offer.accepted.head.tree_size if offer.accepted else None,
        now_accepted.head.tree_size if now_accepted else 0,
        now_mirrored.head.tree_size if now_mirrored else None,
        tiles,
        entry_bundles,
        complete,
    )


class _Fetched:
    """Reads tiles from a source and remembers them, for a TileTree to authenticate."""

    def __init__(self, source: LogSource) -> None:
        self.source = source
        self.tiles: dict[Tile, bytes] = {}

    def __call__(self, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        self.tiles.update(
            fetch_tiles(self.source, [one for one in wanted if one not in self.tiles])
        )
        return {tile: self.tiles[tile] for tile in wanted}


class _Prefix:
    """The root of the larger of two trees at the size of the smaller, and how it was found."""

    def __init__(self) -> None:
        self.root: Hash | None = None  # None: not needed, or it could not be found
        self.hashes: tuple[Hash, ...] = ()  # the consistency proof; empty: it was not needed
        self.counterpart: AcceptedCheckpoint | None = None  # one of ours of just that size
        self.damage: CorruptError | None = None  # of our own tiles
        self.ranges: dict[tuple[int, int], Hash] = {}  # that a proof without tiles gave

    def prove(
        self,
        mirror: Mirror,
        accepted: AcceptedCheckpoint | None,
        candidate: TreeHead,
        source: ProvingSource,
    ) -> None:
        """Find it by the source's own proof; raises ProofError for one that proves nothing."""
        if accepted is None or accepted.head.tree_size == candidate.tree_size:
            return
        if accepted.head.tree_size < candidate.tree_size:
            self.root, self.hashes = proven_root(accepted.head, candidate, source)
            self._keep(accepted.head, candidate)
            return
        if known := mirror.history.at(candidate.tree_size):
            self.root, self.counterpart = known.head.root_hash, known
            return
        with contextlib.suppress(IncompleteError):
            ours, size = our_tree(mirror, accepted.head), candidate.tree_size
            root, hashes = ours.root_at(size), ours.prove_consistency(size)
            self.root, self.hashes = root, hashes  # without asking who may be lying
            return
        with contextlib.suppress(RemoteError, ProofError, MalformedError, IncompleteError):
            # Else nobody can tell, and nothing is taken.
            self.root, self.hashes = proven_root(candidate, accepted.head, source)
            self._keep(candidate, accepted.head)

    def _keep(self, old: TreeHead, new: TreeHead) -> None:
        """Take the hashes of a proof that holds for both heads: they are of one tree."""
        if self.hashes and self.root == old.root_hash:
            self.ranges = of_consistency(old, new, self.hashes)

    def compute(
        self,
        mirror: Mirror,
        accepted: AcceptedCheckpoint | None,
        tree: TileTree,
        fetched: _Fetched,
    ) -> None:
        """Find it from tiles, theirs or ours."""
        if accepted is None or accepted.head.tree_size == tree.head.tree_size:
            return
        old_size, new_size = accepted.head.tree_size, tree.head.tree_size
        if old_size < new_size:
            self.root = tree.root_at(old_size, fetched)
            self.hashes = tree.prove_consistency(old_size, fetched)
            # A second way to the same truth: the proof anybody could check, checked.
            verify_consistency(TreeHead(old_size, self.root), tree.head, self.hashes)
        elif known := mirror.history.at(new_size):
            self.root, self.counterpart = known.head.root_hash, known
        else:
            self._look_back(mirror, TileTree(accepted.head), new_size, fetched)

    def _look_back(self, mirror: Mirror, ours: TileTree, new_size: int, fetched: _Fetched) -> None:
        try:
            self.root = our_root_at(mirror, ours, new_size)
        except IncompleteError:
            pass
        except CorruptError as damage:
            self.damage = damage
        read = ours_or_theirs(mirror, fetched) if self.damage is None else fetched
        try:
            self.root = ours.root_at(new_size, read)
            self.hashes = ours.prove_consistency(new_size, read)
        except (IncompleteError, RemoteError):
            return  # nobody can tell, and nothing is taken


def _shared_sizes(mirror: Mirror, candidate: TreeHead, source: ProvingSource) -> int:
    """Return the largest accepted size at which a tree that contradicts us is still ours."""
    sizes = [one for one in mirror.history.accepted_sizes() if 0 < one < candidate.tree_size]
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        if _is_prefix(mirror, sizes[middle], candidate, source):
            low = middle + 1
        else:
            high = middle
    return sizes[low - 1] if low else 0


def _is_prefix(mirror: Mirror, tree_size: int, new: TreeHead, source: ProvingSource) -> bool:
    ours = mirror.history.at(tree_size)
    if ours is None:
        return False
    try:
        verify_consistency(ours.head, new, source.consistency(tree_size, new.tree_size))
    except (RemoteError, ProofError, MalformedError, IncompleteError):
        return False
    return True


def _proof(
    contradiction: Contradiction, accepted: TreeHead, theirs: TileTree, prefix: _Prefix
) -> ConsistencyProof | None:
    """Return the proof between two sizes, if it is one that proves the contradiction."""
    if not prefix.hashes or prefix.root is None:
        return None
    old = TreeHead(contradiction.tree_size, prefix.root)
    new = accepted if accepted.tree_size > theirs.head.tree_size else theirs.head
    return ConsistencyProof(old, new, prefix.hashes)


def _shared_leaves(mirror: Mirror, accepted: TreeHead, theirs: TileTree, fetched: _Fetched) -> int:
    return shared_leaves(TileTree(accepted), theirs, mirror.read_tiles, fetched)
