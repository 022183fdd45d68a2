"""Absorb a log's newest checkpoint, and the tiles under it, into its mirror.

This is sync with a server for a source and import with a transfer bundle for one. The order
of the lines is the safety argument: open, authenticate tiles under the candidate, relate to
what we accepted, keep evidence or accept, and only then store more under the accepted head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from appliance.errors import (
    DivergenceError,
    IncompleteError,
    MalformedError,
    ProofError,
    RemoteError,
)
from appliance.policy.relate import Contradiction, Relation, relate
from appliance.store.checkpoints import AcceptedCheckpoint, Arrival
from appliance.store.evidence import keep_evidence
from appliance.store.mirror import Mirror
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.log_source import LogSource
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.proof import verify_consistency
from appliance.tlog.tile import EntryBundle, Tile
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen

BATCH_TILES: Final = 512  # made durable together; an interrupted run loses at most these


@frozen
class Wanted:
    """How much of the tree to bring."""

    tiles: bool = True  # hash tiles beyond those that the consistency proof needs
    entries: bool = False  # entry bundles as well
    limit: int | None = None  # at most so many tiles and entry bundles; None: all of them
    # A source that holds only a part says which; what it lacks is left for another.
    has: Callable[[Tile | EntryBundle], bool] = lambda _: True


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


T = TypeVar("T")
Progress = Callable[[int], None]  # called with how many more tiles are done


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
    could not be had. Whatever was stored before one of these stays: it is authenticated.
    """
    log = mirror.log
    candidate = open_checkpoint(source.checkpoint(), log.keys, log.origin)
    accepted = mirror.history.accepted()
    fetched = _Fetched(source)
    tree = TileTree(candidate.head)
    prefix_root = _prefix_root(mirror, accepted, tree, fetched)
    relation = relate(accepted.head if accepted else None, candidate.head, prefix_root)
    if isinstance(relation, Contradiction):
        raise _divergence(mirror, accepted, candidate, relation, fetched, arrival)
    stored = 0
    if relation in (Relation.FIRST, Relation.AHEAD):
        tree.load([], fetched)  # the right edge, if no proof has needed it yet
        # If we die before this commits, the mirror stands where it did.
        mirror.accept(candidate, arrival, fetched.tiles)
        # If we die after it, the next run finds the rest missing and fetches it.
        stored = len(fetched.tiles)
    else:
        mirror.record_note(candidate, arrival)
    # What is behind us has nothing that we should take from it.
    is_behind = relation is Relation.BEHIND
    filled = _Filled() if is_behind else _fill(mirror, tree, source, wanted, progress)
    now_accepted = mirror.history.accepted()
    now_mirrored = mirror.history.mirror_checkpoint()
    return AbsorbReport(
        log.origin,
        relation,
        candidate.head.tree_size,
        accepted.head.tree_size if accepted else None,
        now_accepted.head.tree_size if now_accepted else 0,
        now_mirrored.head.tree_size if now_mirrored else None,
        stored + filled.tiles,
        filled.entry_bundles,
        filled.complete,
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


@frozen
class _Filled:
    tiles: int = 0
    entry_bundles: int = 0
    complete: bool = True


def _fill(
    mirror: Mirror, tree: TileTree, source: LogSource, wanted: Wanted, progress: Progress
) -> _Filled:
    """Store what is missing under the accepted head, parents before children."""
    size = tree.head.tree_size
    left = wanted.limit
    tiles = bundles = 0
    if wanted.tiles:
        for batch in _batches(filter(wanted.has, mirror.missing_tiles(size)), left):
            got = fetch_tiles(source, batch)
            _authenticate(mirror, tree, batch, got)
            mirror.add(got, {})
            tree.trim()
            tiles += len(batch)
            left = None if left is None else left - len(batch)
            progress(len(batch))
    if wanted.entries:
        offered = filter(wanted.has, mirror.missing_entry_bundles(size))
        covered = _with_tiles_here(mirror, offered, size)
        for bundle_batch in _batches(covered, left):
            brought = dict(source.entry_bundles(bundle_batch))
            for bundle, data in brought.items():
                check_entries(mirror, tree, bundle, data)
            mirror.add({}, brought)
            tree.trim()
            bundles += len(bundle_batch)
            progress(len(bundle_batch))
    complete = not (wanted.tiles and any(True for _ in mirror.missing_tiles(size))) and not (
        wanted.entries and any(True for _ in mirror.missing_entry_bundles(size))
    )
    return _Filled(tiles, bundles, complete)


def fetch_tiles(source: LogSource, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
    """Fetch exactly the wanted tiles: one more would be stored without being authenticated."""
    got = dict(source.tiles(wanted))
    if got.keys() != set(wanted):
        raise MalformedError(
            f"{source.description}: asked for {len(wanted)} tiles, {len(got)} others came",
            reason="source",
        )
    return got


def _authenticate(
    mirror: Mirror, tree: TileTree, batch: Sequence[Tile], got: dict[Tile, bytes]
) -> None:
    """Authenticate new tiles under the head; their parents are new too, or ours."""

    def read(wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        ours = mirror.read_tiles([tile for tile in wanted if tile not in got])
        return ours | {tile: got[tile] for tile in wanted if tile in got}

    tree.load(batch, read)


def check_entries(mirror: Mirror, tree: TileTree, bundle: EntryBundle, data: bytes) -> None:
    """Raise ProofError unless the entries have the leaf hashes of the authenticated tile."""
    tree.load([bundle.tile], mirror.read_tiles)
    if leaf_hashes(parse_entry_bundle(data, bundle)) != tree.tile(bundle.tile):
        raise ProofError(
            f"{bundle.path}: its entries do not have the leaf hashes of {bundle.tile.path}",
            reason="entry-bundle",
        )


def _with_tiles_here(
    mirror: Mirror, bundles: Iterable[EntryBundle], tree_size: int
) -> Iterator[EntryBundle]:
    """Yield entry bundles up to the first whose tile is not here yet to check it against."""
    first_missing = next(
        (tile.index for tile in mirror.missing_tiles(tree_size) if tile.level == 0), None
    )
    for bundle in bundles:
        if first_missing is not None and bundle.index >= first_missing:
            return
        yield bundle


def _batches(items: Iterator[T], limit: int | None) -> Iterator[list[T]]:
    """Cut `items`, at most `limit` of them, into lists of BATCH_TILES."""
    limited = islice(items, limit)
    while batch := list(islice(limited, BATCH_TILES)):
        yield batch
