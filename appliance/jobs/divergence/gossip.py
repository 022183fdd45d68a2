"""Checkpoints of a log seen elsewhere, compared with our own tree (docs/divergence.md).

Whoever carries one brings nothing but the log's own signature: in a Sigstore bundle, from a
mirror, in another site's transfer bundle, in a mail. A log that shows different trees to
different people is caught by exactly this comparison.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NoReturn

from appliance.errors import (
    ApplianceError,
    DivergenceError,
    IncompleteError,
    MalformedError,
    ProofError,
    RefusedError,
    RemoteError,
    SignatureError,
)
from appliance.jobs.divergence.incident import ConsistencyProof, Incident, report_incident
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.our_tree import our_tree
from appliance.jobs.proven_root import proven_root
from appliance.policy.relate import Contradiction, Rule
from appliance.store.database import Store
from appliance.store.divergence.seen import forget_seen, remember_seen, waiting_seen
from appliance.store.mirror.checkpoints import AcceptedCheckpoint, Arrival
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.leaf_ranges import of_consistency
from appliance.tlog.log_source import ProvingSource
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.note import parse_note
from appliance.value import frozen

MOST_ASKED: Final = 100  # proofs that one sync asks a log for, to place notes seen elsewhere


class Standing(enum.Enum):
    """What a checkpoint seen elsewhere is to our tree."""

    PROVEN = "proven"  # a prefix of our tree, or our very head
    LARGER = "larger"  # than our tree: kept, and compared once we get there
    UNDECIDED = "undecided"  # tiles are missing here: kept, and compared once they are here


@frozen
class Seen:
    """What came of one note."""

    origin: str
    head: TreeHead
    standing: Standing
    accepted_size: int | None  # ours; None: nothing was accepted yet


def compare_note(store: Store, note: bytes, detail: str, now: int) -> Seen:
    """Compare a signed note, seen in `detail` (a file or URL), with our tree at its size.

    A proven prefix is stored as a note seen; what cannot be compared yet is kept apart
    until it can. Raises IncompleteError (unknown-log) for a log that is not pinned here,
    SignatureError or MalformedError for a note that no pinned key signed, CorruptError if
    our own tiles are damaged, and DivergenceError, evidence stored, for a contradiction.
    """
    origin = parse_note(note).text.partition("\n")[0]
    mirror = Mirror(store, require_log(store, origin))
    seen = open_checkpoint(note, mirror.log.keys, origin)
    standing = _compare(mirror, seen, Arrival("seen", detail, now))
    accepted = mirror.history.accepted()
    return Seen(origin, seen.head, standing, accepted.head.tree_size if accepted else None)


def keep_note(store: Store, note: bytes, detail: str, now: int) -> None:
    """Keep a signed note to be compared at the next sync; raises as compare_note does.

    One transaction on a table of its own: this needs no lock of the home.
    """
    origin = parse_note(note).text.partition("\n")[0]
    log = require_log(store, origin)
    seen = open_checkpoint(note, log.keys, origin)
    with store.atomic():
        remember_seen(store, log, seen, Arrival("seen", detail, now))


def compare_waiting(mirror: Mirror, now: int, source: ProvingSource | None = None) -> None:
    """Compare the notes that waited until our tree reached them; raises as compare_note does.

    Where we have no tiles, `source` is asked for a proof between their sizes and ours: of some
    of them, as each is a request. All are compared, whatever one of them says; the last
    contradiction is raised. One that no key in force vouches for any more is forgotten.
    """
    accepted = mirror.history.accepted()
    found: ApplianceError | None = None
    asked = 0
    for one in waiting_seen(mirror.store, mirror.log, accepted.head.tree_size if accepted else -1):
        try:
            seen = open_checkpoint(one.note, mirror.log.keys, mirror.log.origin)
        except (RefusedError, SignatureError):  # its key was retired or revoked since
            with mirror.store.atomic():
                forget_seen(mirror.store, mirror.log, one.note)
            continue
        try:
            arrival = Arrival("seen", one.detail, now, one.seen_at)
            standing = _compare(mirror, seen, arrival)
            if standing is Standing.UNDECIDED and source is not None and asked < MOST_ASKED:
                asked += 1
                _ask(mirror, seen, arrival, source)
        except DivergenceError as error:
            found = error
    if found is not None:
        raise found


def report_seen_contradiction(
    mirror: Mirror, accepted: AcceptedCheckpoint, seen: SignedCheckpoint, arrival: Arrival
) -> DivergenceError:
    """Make it durable that a note seen elsewhere contradicts our tree; return the error.

    Raises IncompleteError or CorruptError if our tree cannot say so.
    """
    contradiction, ours, proof = _against_ours(mirror, accepted, seen)
    if contradiction is None:
        raise ValueError(f"checkpoint {seen.head.tree_size} contradicts nothing")
    return report_incident(mirror, Incident(contradiction, ours, seen, arrival, {}, proof))


def _compare(mirror: Mirror, seen: SignedCheckpoint, arrival: Arrival) -> Standing:
    store, log = mirror.store, mirror.log
    accepted = mirror.history.accepted()
    if accepted is None or seen.head.tree_size > accepted.head.tree_size:
        with store.atomic():
            remember_seen(store, log, seen, arrival)
        return Standing.LARGER
    try:
        contradiction, ours, proof = _against_ours(mirror, accepted, seen)
    except IncompleteError:
        with store.atomic():
            remember_seen(store, log, seen, arrival)
        return Standing.UNDECIDED
    if contradiction is not None:
        _refute(mirror, Incident(contradiction, ours, seen, arrival, {}, proof))
    _take(mirror, seen, arrival)
    return Standing.PROVEN


def _refute(mirror: Mirror, incident: Incident) -> NoReturn:
    """Report a note that contradicts our tree, and forget it; raises DivergenceError."""
    error = report_incident(mirror, incident)
    with mirror.store.atomic():
        forget_seen(mirror.store, mirror.log, incident.theirs.note)
    raise error


def _take(
    mirror: Mirror,
    seen: SignedCheckpoint,
    arrival: Arrival,
    ranges: Mapping[tuple[int, int], Hash] | None = None,
) -> None:
    """Keep a note that is proven to be of our tree; it waits no longer."""
    mirror.record_note(seen, arrival, ranges)
    # If we die here it is compared again, which does nothing.
    with mirror.store.atomic():
        forget_seen(mirror.store, mirror.log, seen.note)


def _ask(mirror: Mirror, seen: SignedCheckpoint, arrival: Arrival, source: ProvingSource) -> None:
    """Compare a note with ours by the log's own proof; one that proves nothing lets it wait."""
    accepted = mirror.history.accepted()
    if accepted is None:
        return
    try:
        root, hashes = proven_root(seen.head, accepted.head, source)
    except (ProofError, MalformedError, RemoteError, IncompleteError):
        return
    size = seen.head.tree_size
    if root != seen.head.root_hash:
        proof = ConsistencyProof(TreeHead(size, root), accepted.head, hashes) if hashes else None
        contradiction = Contradiction(Rule.ROOT_MISMATCH, size, root, seen.head.root_hash)
        _refute(mirror, Incident(contradiction, accepted, seen, arrival, {}, proof))
    ranges = of_consistency(seen.head, accepted.head, hashes) if hashes else None
    _take(mirror, seen, arrival, ranges)


def _against_ours(
    mirror: Mirror, accepted: AcceptedCheckpoint, seen: SignedCheckpoint
) -> tuple[Contradiction | None, AcceptedCheckpoint, ConsistencyProof | None]:
    """Compare with the tree of `accepted`, which is not smaller; with the proof if it takes one."""
    size = seen.head.tree_size
    known = mirror.history.at(size)
    if known is not None:
        expected, proof = known.head.root_hash, None
    else:
        tree = our_tree(mirror, accepted.head)
        expected = told_apart(mirror, lambda: tree.root_at(size))
        hashes = told_apart(mirror, lambda: tree.prove_consistency(size))
        proof = ConsistencyProof(TreeHead(size, expected), accepted.head, hashes)
    if expected == seen.head.root_hash:
        return None, accepted, None
    found = Contradiction(Rule.ROOT_MISMATCH, size, expected, seen.head.root_hash)
    return found, known or accepted, proof
