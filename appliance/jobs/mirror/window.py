"""A window of entries of a log that serves no tiles: fetched, proven together, and kept.

The proof of the first entry has the roots of all that is left of it, the proof of the last of
all that is right. With the hashes of the entries between them they lead to the log's root, so
that nobody's word is taken for any of them: RFC 9162 section 2.1.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from appliance.errors import IncompleteError, LimitError, ProofError, RefusedError
from appliance.jobs.progress import SILENT, Progress
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.entry_windows import EntryWindows
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint, parse_checkpoint
from appliance.tlog.leaf_ranges import LeafRanges, of_inclusion
from appliance.tlog.merkle import Hash, TreeHead, leaf_hash
from appliance.tlog.note import parse_note
from appliance.tlog.proof import verify_inclusion
from appliance.value import frozen

CHUNK_ENTRIES: Final = 500  # proven and kept together; an interrupted run loses at most these
CHUNK_BYTES: Final = 16 * 1024 * 1024  # or fewer, where they are large
ASKED_ENTRIES: Final = 10  # that a Rekor v1 instance gives at once
_ATTEMPTS: Final = 5  # at proofs that are of no older tree than we accepted


class Entries(Protocol):
    """What is asked for entries, by index over all trees. Nothing it returns is trusted."""

    def entry(self, log_index: int) -> TransparencyLogEntry:
        """Return one entry."""

    def entries(self, log_indices: Sequence[int]) -> tuple[TransparencyLogEntry, ...]:
        """Return several, without those that it leaves out."""


@frozen
class WindowReport:
    """What came of a window."""

    origin: str
    first: int  # index within its tree
    count: int  # entries of it that are here and proven now
    fetched: int  # of these, in this run
    before: int  # entries of the trees before it: an index over all trees, less one within it


@frozen
class PlaceInTree:
    """Where an entry is within its tree, as the instance says. Nothing of it is authenticated."""

    origin: str
    entry_index: int
    log_index: int  # over all trees, as it was asked for


def place_in_tree(source: Entries, log_index: int) -> PlaceInTree:
    """Ask for the entry at an index over all trees in which tree it is, and where.

    Raises IncompleteError if it comes without a proof, which says both.
    """
    proof = _asked(source, log_index).inclusion_proof
    if proof is None or not proof.checkpoint:
        raise IncompleteError(
            f"entry {log_index:,} over all trees came without a proof, which names its tree",
            reason="no-proof",
            next_step="run it again; if that goes on, ask the log's operator",
        )
    checkpoint = parse_checkpoint(parse_note(proof.checkpoint.encode()).text)
    return PlaceInTree(checkpoint.origin, proof.entry_index, log_index)


def fetch_window(
    mirror: Mirror,
    source: Entries,
    before: int,
    wanted: range,
    accept: Callable[[bytes], None],
    progress: Progress = SILENT,
) -> WindowReport:
    """Fetch the entries `wanted`, within their tree; `before` are those of the trees before it.

    `accept` takes a signed note, proves it consistent and accepts it, or raises. Can die
    anywhere and be run again: what is here is not asked for. Raises ProofError for entries that
    do not lead to the tree, IncompleteError for one that is left out, RefusedError (quarantined)
    for a log whose stories differ.
    """
    held = quarantine_of(mirror.store, mirror.log)
    if held is not None:
        raise RefusedError(
            f"{mirror.log.origin} contradicted itself and is believed up to"
            f" {held.last_common_size:,} only: nothing was taken",
            reason="quarantined",
            next_step=f"see 'attestor alerts show {held.alert_number}'",
        )
    stored, fetched = EntryWindows(mirror.store, mirror.log), 0
    progress.stage("entries", lambda: len(wanted))
    start = wanted.start
    while start < wanted.stop:
        chunk = range(start, min(start + CHUNK_ENTRIES, wanted.stop))
        if stored.count(chunk.start, chunk.stop) < len(chunk):
            bodies = _fetch(source, before, chunk)
            chunk = range(start, start + len(bodies))
            _keep(mirror, source, before, bodies, accept)
            fetched += len(chunk)
        progress(len(chunk))
        start = chunk.stop
    here = stored.count(wanted.start, wanted.stop)
    return WindowReport(mirror.log.origin, wanted.start, here, fetched, before)


def _fetch(source: Entries, before: int, chunk: range) -> dict[int, bytes]:
    """Return the bodies of a chunk by index, from its first on until they are too large."""
    bodies: dict[int, bytes] = {}
    n_bytes = 0
    for start in range(chunk.start, chunk.stop, ASKED_ENTRIES):
        indices = range(start, min(start + ASKED_ENTRIES, chunk.stop))
        answered: tuple[TransparencyLogEntry, ...] = ()
        with contextlib.suppress(LimitError):  # too large together, maybe not each
            answered = source.entries([before + index for index in indices])
        came = {one.log_index - before: one.canonicalized_body for one in answered}
        for index in indices:
            if index not in came:  # left out without a word: asked for alone
                came[index] = _asked(source, before + index).canonicalized_body
            bodies[index] = came[index]
            n_bytes += len(came[index])
        if n_bytes >= CHUNK_BYTES:
            break
    return bodies


def _keep(
    mirror: Mirror,
    source: Entries,
    before: int,
    bodies: dict[int, bytes],
    accept: Callable[[bytes], None],
) -> None:
    """Prove the entries of a chunk together, and keep them."""
    chunk = range(min(bodies), max(bodies) + 1)
    left, _ = _proven(mirror, source, before, chunk[0], accept)
    right, head = _proven(mirror, source, before, chunk[-1], accept)
    leaves = {index: leaf_hash(body) for index, body in bodies.items()}
    ranges = proving_ranges(left, right, leaves, head.head, mirror.log.origin)
    with mirror.store.atomic():
        EntryWindows(mirror.store, mirror.log).put(bodies)
        mirror.put_ranges(ranges)


def proving_ranges(
    left: Mapping[tuple[int, int], Hash],
    right: Mapping[tuple[int, int], Hash],
    leaves: Mapping[int, Hash],
    head: TreeHead,
    where: str,
) -> dict[tuple[int, int], Hash]:
    """Return what proves entries in a row, from the ranges of the first and of the last of them.

    Raises ProofError unless all of it together leads to the root of `head`.
    """
    start, stop = min(leaves), max(leaves) + 1
    ranges = {place: one for place, one in left.items() if place[1] <= start}
    ranges |= {place: one for place, one in right.items() if place[0] >= stop}
    ranges |= {(index, index + 1): leaf for index, leaf in leaves.items()}
    root = _root(ranges, head.tree_size)
    if root != head.root_hash:
        raise ProofError(
            f"{where}: entries {start:,} to {stop - 1:,} do not lead to the root of the tree of"
            f" {head.tree_size:,}: expected {head.root_hash.hex()}, got {root.hex()}",
            reason="entry-window",
            next_step="none of them was kept; ask over another way, and the log's operator",
        )
    return ranges


def _root(ranges: dict[tuple[int, int], Hash], tree_size: int) -> Hash:
    starts = sorted(start for start, _ in ranges)

    def is_any_inside(start: int, stop: int) -> bool:
        place = bisect_left(starts, start)
        return place < len(starts) and starts[place] < stop

    tree = LeafRanges(lambda start, stop: ranges.get((start, stop)), is_any_inside)
    try:
        return tree.root(0, tree_size)
    except LookupError as error:
        raise ProofError(
            f"the proofs of a window leave out part of the tree of {tree_size:,}",
            reason="entry-window",
        ) from error


def _proven(
    mirror: Mirror, source: Entries, before: int, index: int, accept: Callable[[bytes], None]
) -> tuple[dict[tuple[int, int], Hash], SignedCheckpoint]:
    """Return the ranges in the proof of an entry, under a checkpoint that is the accepted one."""
    log = mirror.log
    for _ in range(_ATTEMPTS):
        entry = _asked(source, before + index)
        proof = entry.inclusion_proof
        if proof is None or not proof.checkpoint:
            break
        signed = open_checkpoint(proof.checkpoint.encode(), log.keys, log.origin)
        leaf = leaf_hash(entry.canonicalized_body)
        if proof.entry_index != index:
            raise ProofError(
                f"entry {before + index:,} over all trees is number {proof.entry_index:,} of"
                f" {log.origin}, expected {index:,}",
                reason="entry-window",
                next_step="the sizes of the closed trees do not add up to where it begins; ask"
                " the log's operator",
            )
        verify_inclusion(index, leaf, signed.head, proof.hashes)
        accepted = mirror.history.accepted()
        if accepted is None or accepted.head != signed.head:
            accept(signed.note)
            accepted = mirror.history.accepted()
        if accepted is not None and accepted.head == signed.head:
            return of_inclusion(index, leaf, signed.head, proof.hashes), signed
    raise IncompleteError(
        f"{log.origin} gives no proof of entry {index:,} in its newest tree",
        reason="no-proof",
        next_step="run it again; if that goes on, a stale replica answers",
    )


def _asked(source: Entries, log_index: int) -> TransparencyLogEntry:
    entry = source.entry(log_index)
    if entry.log_index != log_index:
        raise IncompleteError(
            f"asked for entry {log_index:,}, the log gave {entry.log_index:,}",
            reason="other-entry",
            next_step="run it again; if that goes on, ask the log's operator",
        )
    return entry
