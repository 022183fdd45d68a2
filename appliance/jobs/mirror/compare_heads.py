"""Check stored checkpoints again: who signed them, and that they are roots of one tree.

A root that our tiles do not lead to is damage of our own, which can be repaired; a root
that authenticated tiles contradict was signed by a log that lies, which is evidence. Here
the two are told apart (checkpoints verify).
"""

from __future__ import annotations

from itertools import chain
from typing import Final, NoReturn

from appliance.errors import (
    ApplianceError,
    CorruptError,
    IncompleteError,
    VerificationError,
)
from appliance.jobs.divergence.incident import ConsistencyProof, Incident, report_incident
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.our_tree import OurTree, is_in_ranges, is_without_tiles, our_tree
from appliance.jobs.progress import SILENT, Progress
from appliance.policy.relate import Contradiction, Rule
from appliance.store.mirror.checkpoints import AcceptedCheckpoint, Arrival
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.proven_ranges import LackingProofs
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.compact_range import CompactRange
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead, perfect_root
from appliance.tlog.proof import verify_consistency
from appliance.tlog.tile import HEIGHT, Tile, edge_tiles, full_tile_count
from appliance.value import frozen

_FETCHED_ANEW: Final = (
    "this is damage here, not an attack: the next 'attestor sync' asks the log for its proof again"
)
TRIM_EVERY: Final = 64  # checkpoints, so that memory stays small


@frozen
class ChainReport:
    """What holds of all stored checkpoints of a log."""

    newest: TreeHead  # under which the others are proven
    checkpoints: int
    notes: int  # opened with the pinned keys
    proven: int  # checkpoints that are prefixes of the newest, itself included
    unproven: tuple[int, ...]  # sizes for which tiles are missing here
    problems: tuple[ApplianceError, ...]


@frozen
class RootReport:
    """A root recomputed from leaf hashes."""

    head: TreeHead
    signed: bool  # whether the log signed this very head; if not, one that it is a prefix of


def recheck_chain(mirror: Mirror, now: int, progress: Progress = SILENT) -> ChainReport:
    """Check every stored checkpoint of a log, all of them whatever is wrong with one.

    Of a log without tiles the proofs that are missing or damaged are fetched by the next sync.

    Raises IncompleteError if there is none. Among the problems are SignatureError for a
    note by no pinned key, StoreError (corrupt) for what is wrong with us, and
    DivergenceError, its evidence stored, for a log that signed two trees.
    """
    newest = _newest(mirror)
    tree = our_tree(mirror, newest.head)
    sizes = mirror.history.accepted_sizes()
    notes = proven = 0
    unproven: list[int] = []
    damaged: list[int] = []
    problems: list[ApplianceError] = []
    progress.stage("checkpoints", lambda: len(sizes))
    for position, tree_size in enumerate(sizes):
        try:
            stored = _opened(mirror, tree_size)
            notes += len(mirror.history.notes(tree_size))
            _prove(mirror, tree, newest, stored, now)
            proven += 1
        except IncompleteError:
            unproven.append(tree_size)
        except ApplianceError as error:
            if isinstance(error, CorruptError) and is_in_ranges(mirror):
                damaged.append(tree_size)
                error.next_step = _FETCHED_ANEW
            error.message = f"checkpoint {tree_size} of {mirror.log.origin}: {error.message}"
            problems.append(error)
        if position % TRIM_EVERY == TRIM_EVERY - 1:
            tree.trim()
        progress(1)
    if is_in_ranges(mirror):
        with mirror.store.atomic():
            for tree_size in (*unproven, *damaged):
                LackingProofs(mirror.store, mirror.log).add(tree_size)
    return ChainReport(newest.head, len(sizes), notes, proven, tuple(unproven), tuple(problems))


def recheck_root(mirror: Mirror, tree_size: int, now: int) -> RootReport:
    """Recompute the root at a size from the leaf hashes that are stored here.

    Raises IncompleteError for a size beyond the newest checkpoint or a tile that is not
    here, StoreError (corrupt) if our tiles are damaged, DivergenceError, its evidence
    stored, if the log signed another root than the tree it shows us has.
    """
    newest = _newest(mirror)
    if not 0 <= tree_size <= newest.head.tree_size:
        raise IncompleteError(
            f"the newest checkpoint of {mirror.log.origin} here has {newest.head.tree_size}"
            f" entries, not {tree_size}",
            reason="not-covered",
            next_step="run 'attestor sync' or import a newer transfer bundle",
        )
    tree = our_tree(mirror, newest.head)
    computed = None if is_without_tiles(mirror) else _fold(mirror, tree_size)
    try:
        authentic = tree.root_at(tree_size)
    except VerificationError as error:
        raise _damaged(error.message) from error
    stored = _opened(mirror, tree_size) if mirror.history.at(tree_size) else None
    if stored is not None and stored.head.root_hash != authentic:
        _contradict(mirror, stored, newest, authentic, now)
    if computed not in (None, authentic):
        raise _damaged(
            f"the leaf hashes stored up to {tree_size} have root {computed.hex()}, expected"
            f" {authentic.hex()}"
        )
    return RootReport(TreeHead(tree_size, authentic), stored is not None)


def _newest(mirror: Mirror) -> AcceptedCheckpoint:
    newest = mirror.history.accepted()
    if newest is None:
        raise IncompleteError(
            f"no checkpoint of {mirror.log.origin} was ever accepted here",
            reason="no-checkpoint",
            next_step="run 'attestor sync' or import a transfer bundle",
        )
    return newest


def _opened(mirror: Mirror, tree_size: int) -> AcceptedCheckpoint:
    """Open every note of a stored checkpoint again; return the checkpoint."""
    stored = mirror.history.at(tree_size)
    if stored is None:
        raise _damaged(f"checkpoint {tree_size} has no note")
    for note in mirror.history.notes(tree_size):
        head = open_checkpoint(note, mirror.log.keys, mirror.log.origin).head
        if head != stored.head:
            raise _damaged(f"its row says {_text(stored.head)}, its note {_text(head)}")
    return stored


def _prove(
    mirror: Mirror, tree: OurTree, newest: AcceptedCheckpoint, stored: AcceptedCheckpoint, now: int
) -> None:
    size = stored.head.tree_size
    try:
        root = tree.root_at(size)
        proof = tree.prove_consistency(size)
        # A second way to the same truth: the proof anybody could check, checked.
        verify_consistency(TreeHead(size, root), newest.head, proof)
    except VerificationError as error:
        raise _damaged(error.message) from error
    if root != stored.head.root_hash:
        _contradict(mirror, stored, newest, root, now)


def _fold(mirror: Mirror, tree_size: int) -> Hash:
    """Return the root over the level 0 tiles as they are stored, re-hashed but no more."""
    leaves = CompactRange()
    full = (Tile(0, index) for index in range(full_tile_count(0, tree_size)))
    edge = (tile for tile in edge_tiles(tree_size) if tile.level == 0)
    for tile in chain(full, edge):  # the first that is not here ends it
        try:
            data = mirror.read_tiles([tile])[tile]
        except VerificationError as error:
            raise _damaged(f"{tile.path}: {error.message}") from error
        if tile.is_full:
            leaves.append(perfect_root(data), HEIGHT)
        else:
            starts = range(0, len(data), HASH_BYTES)
            leaves.extend(Hash(data[start : start + HASH_BYTES]) for start in starts)
    return leaves.head.root_hash


def _contradict(
    mirror: Mirror,
    stored: AcceptedCheckpoint,
    newest: AcceptedCheckpoint,
    authentic: Hash,
    now: int,
) -> NoReturn:
    """Keep both signed notes, then say that the log signed two trees."""
    size = stored.head.tree_size
    hashes = told_apart(mirror, lambda: our_tree(mirror, newest.head).prove_consistency(size))
    raise report_incident(
        mirror,
        Incident(
            Contradiction(Rule.FORK, size, authentic, stored.head.root_hash),
            newest,
            open_checkpoint(stored.note, mirror.log.keys, mirror.log.origin),
            Arrival("seen", stored.detail, now),
            {},
            ConsistencyProof(TreeHead(size, authentic), newest.head, hashes),
        ),
    )


def _damaged(message: str) -> CorruptError:
    return CorruptError(
        message,
        next_step="this is damage here, not an attack: name it with 'attestor store check"
        " --read-data', repair it with 'attestor tiles fetch' or an import",
        blobs=[message],
    )


def _text(head: TreeHead) -> str:
    return f"size {head.tree_size}, root {head.root_hash.hex()}"
