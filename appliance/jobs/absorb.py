"""Absorb a log's newest checkpoint, and the tiles under it, into its mirror.

This is sync with a server for a source and import with a transfer bundle for one. The order
of the lines is the safety argument: open, authenticate tiles under the candidate, relate to
what we accepted, keep evidence or accept, and only then store more under the accepted head.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from appliance.errors import (
    DivergenceError,
    IncompleteError,
    RemoteError,
)
from appliance.jobs.fill import Filled, Progress, Wanted, fetch_tiles, fill
from appliance.policy.relate import Contradiction, Relation, relate
from appliance.store.checkpoints import AcceptedCheckpoint, Arrival
from appliance.store.evidence import keep_evidence
from appliance.store.mirror import Mirror
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.log_source import LogSource
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.proof import verify_consistency
from appliance.tlog.quorum import verify_quorum
from appliance.tlog.tile import Tile
from appliance.tlog.tile_tree import TileTree
from appliance.tlog.tlog_policy import parse_tlog_policy
from appliance.value import frozen


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


def absorb(
    mirror: Mirror,
    source: LogSource,
    arrival: Arrival,
    wanted: Wanted,
    progress: Progress = lambda _: None,
) -> AbsorbReport:
    """Bring `mirror` up to the checkpoint `source` offers, as far as `wanted` goes.

    Can die anywhere and be run again. Raises DivergenceError, evidence stored and head
    unmoved, if the log contradicts what we accepted; SignatureError, ProofError or
    MalformedError for bytes that are wrong; RemoteError or IncompleteError for what
    could not be had; RefusedError if the log's policy wants witnesses that did not cosign.
    Whatever was stored before one of these stays: it is authenticated.
    """
    offer = _examine(mirror, source, arrival)
    stored = 0
    if offer.relation in (Relation.FIRST, Relation.AHEAD):
        # If we die before this commits, the mirror stands where it did.
        mirror.accept(offer.candidate, arrival, offer.tiles)
        # If we die after it, the next run finds the rest missing and fetches it.
        stored = len(offer.tiles)
    else:
        mirror.record_note(offer.candidate, arrival)
    # What is behind us has nothing that we should take from it.
    is_behind = offer.relation is Relation.BEHIND
    filled = Filled() if is_behind else fill(mirror, offer.tree, source, wanted, progress)
    return _report(mirror, offer, stored + filled.tiles, filled.entry_bundles, filled.complete)


def preview(mirror: Mirror, source: LogSource, arrival: Arrival) -> AbsorbReport:
    """Say what absorb would find and how many tiles it would miss, and store none of it.

    Raises what absorb raises; the evidence of a contradiction is kept even so.
    """
    offer = _examine(mirror, source, arrival)
    missing = 0
    if offer.relation is not Relation.BEHIND:
        missing = sum(1 for _ in mirror.missing_tiles(offer.candidate.head.tree_size))
    return _report(mirror, offer, missing, 0, missing == 0)


@frozen
class _Offer:
    """A checkpoint that was opened and placed next to ours, and the tiles that took."""

    candidate: SignedCheckpoint
    relation: Relation
    tree: TileTree  # under the candidate's head, its right edge authenticated
    tiles: dict[Tile, bytes]  # authenticated under the candidate, unless it is behind
    accepted: AcceptedCheckpoint | None  # ours, before


def _examine(mirror: Mirror, source: LogSource, arrival: Arrival) -> _Offer:
    """Open what the source offers and place it; raises DivergenceError, evidence stored."""
    log = mirror.log
    candidate = open_checkpoint(source.checkpoint(), log.keys, log.origin)
    if log.policy is not None:
        verify_quorum(candidate, parse_tlog_policy(log.policy))
    accepted = mirror.history.accepted()
    fetched = _Fetched(source)
    tree = TileTree(candidate.head)
    prefix_root = _prefix_root(mirror, accepted, tree, fetched)
    relation = relate(accepted.head if accepted else None, candidate.head, prefix_root)
    if isinstance(relation, Contradiction):
        raise _divergence(mirror, accepted, candidate, relation, fetched, arrival)
    if relation in (Relation.FIRST, Relation.AHEAD):
        tree.load([], fetched)  # the right edge, if no proof has needed it yet
    return _Offer(candidate, relation, tree, fetched.tiles, accepted)


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


def _prefix_root(
    mirror: Mirror, accepted: AcceptedCheckpoint | None, tree: TileTree, fetched: _Fetched
) -> Hash | None:
    """Return the root of the larger of two trees at the size of the smaller."""
    if accepted is None or accepted.head.tree_size == tree.head.tree_size:
        return None
    old_size, new_size = accepted.head.tree_size, tree.head.tree_size
    if old_size < new_size:
        root = tree.root_at(old_size, fetched)
        proof = tree.prove_consistency(old_size, fetched)
        # A second way to the same truth: the proof anybody could check, checked.
        verify_consistency(TreeHead(old_size, root), tree.head, proof)
        return root
    if known := mirror.history.at(new_size):
        return known.head.root_hash
    ours = TileTree(accepted.head)
    try:
        return ours.root_at(new_size, lambda tiles: _ours_or_theirs(mirror, fetched, tiles))
    except (IncompleteError, RemoteError):
        return None  # whoever offers an older head must be able to show it is one of ours


def _ours_or_theirs(mirror: Mirror, fetched: _Fetched, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
    try:
        return mirror.read_tiles(wanted)
    except IncompleteError:
        return fetched(wanted)


def _divergence(
    mirror: Mirror,
    accepted: AcceptedCheckpoint | None,
    candidate: SignedCheckpoint,
    contradiction: Contradiction,
    fetched: _Fetched,
    arrival: Arrival,
) -> DivergenceError:
    """Make the evidence durable and return the error to raise."""
    if accepted is None:
        raise ValueError("nothing was accepted that could be contradicted")
    proof: Iterable[Hash] = ()
    if candidate.head.tree_size > accepted.head.tree_size:
        tree = TileTree(candidate.head)
        proof = tree.prove_consistency(accepted.head.tree_size, fetched)
    evidence_id = keep_evidence(
        mirror.store,
        mirror.log,
        rule=contradiction.rule.value,
        ours=accepted.note,
        theirs=candidate.note,
        details={
            "treeSize": contradiction.tree_size,
            "expectedRootHash": f"sha256:{contradiction.expected_root.hex()}",
            "actualRootHash": contradiction.actual_root
            and f"sha256:{contradiction.actual_root.hex()}",
            "consistencyProof": [one.hex() for one in proof],
            "source": arrival.detail,
        },
        detected_at=arrival.seen_at,
    )
    return DivergenceError(
        f"{mirror.log.origin} contradicts itself: {contradiction} (from {arrival.detail})",
        reason=contradiction.rule.name.lower().replace("_", "-"),
        next_step=f"both signed notes are kept as evidence {evidence_id}; the head has not moved;"
        " trust nothing newer from this log until it is explained",
        evidence_id=evidence_id,
    )
