"""Look for entries in the mirrored logs, and say exactly what was looked at.

The index only proposes: each entry is read again from its entry bundle, proven in the tree
and judged anew before it is reported. "Not there" is said only of what was scanned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from appliance.errors import CorruptError
from appliance.jobs.find.blocks import blocks_in, bodies_of_windows, runs_in, spans_of
from appliance.jobs.find.criteria import Criteria, matches, matching_signers, proposed
from appliance.jobs.find.patterns import OverTimeError
from appliance.jobs.find.remembered import Remembered
from appliance.jobs.find.vouching import Voucher
from appliance.jobs.local_tiles import corrupt, load_ours, told_apart
from appliance.jobs.mirror.prove import show_entry
from appliance.jobs.mirror.tree_places import EntryPlace, log_index_of
from appliance.jobs.opened_notes import open_note_of
from appliance.jobs.our_tree import is_in_ranges, readable_checkpoint
from appliance.jobs.progress import SILENT, Progress
from appliance.rekor.entry_facts import EntryFacts, read_entry
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.find.expectations import holding_at
from appliance.store.find.index import Index
from appliance.store.find.known_statements import subjects_of
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.spans import SPAN_TILES
from appliance.times import utc
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.tile import WIDTH, EntryBundle, tile_at
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen, replaced

INDEX: Final = "index"
RESCAN: Final = "rescan"
# Why a range was not looked at.
NO_ENTRIES: Final = "no-entry-bundles"
CHECKPOINT_ONLY: Final = "checkpoint-only"  # of a log without tiles; no window has it
NOT_INDEXED: Final = "not-indexed"
BEYOND_MIRROR: Final = "beyond-mirror"
QUARANTINED: Final = "quarantined"
GROUPS: Final = ("identity", "digest", "log")  # what hits are counted by
_TILES_TOGETHER: Final = 256
_SPAN: Final = SPAN_TILES * WIDTH  # entries that are counted together


@frozen
class Gap:
    """A range of entries that was not looked at."""

    start: int
    stop: int
    why: str


@frozen
class Scanned:
    """What was looked at of one log."""

    origin: str
    head: TreeHead | None  # accepted, and all tiles here; None: nothing can be proven
    first_seen_at: int | None  # Unix seconds
    basis: str  # index or rescan
    ranges: tuple[tuple[int, int], ...]  # start and stop
    gaps: tuple[Gap, ...]
    opaque: tuple[tuple[int, str], ...]  # entries that could not be read whole, and why

    @property
    def is_complete(self) -> bool:
        """Whether every entry of the accepted tree was looked at and read."""
        return self.head is not None and not self.gaps and not self.opaque

    def covers(self, entry_index: int) -> bool:
        """Whether an entry is in a range that was looked at."""
        return any(start <= entry_index < stop for start, stop in self.ranges)


@frozen
class Hit:
    """An entry that was read, proven, and meets the conditions."""

    origin: str
    entry_index: int
    leaf: Hash
    head: TreeHead  # under which it is proven
    facts: EntryFacts
    logged_after: int | None  # Unix seconds: when the newest tree without it was first seen
    logged_before: int | None  # Unix seconds: when the first tree with it was
    vouched: tuple[bool | None, ...]  # for each signer; None: no trusted root, or a bare key
    known_statement: tuple[bytes, ...] = ()  # digests of the artifacts it is known to be about
    expectation: int | None = None  # the first row of the ledger that it was found to meet
    place: EntryPlace | None = None  # over all trees of a Rekor v1 instance, if that is known


@frozen
class Window:
    """When an entry was logged, by our checkpoints, or its certificate began; Unix seconds."""

    since: int | None = None
    until: int | None = None
    signed_since: int | None = None
    signed_until: int | None = None

    def holds(self, hit: Hit, signers: Sequence[int]) -> bool:
        """Whether an entry may have been logged within, and one of these signers began within."""
        before, after = hit.logged_before, hit.logged_after
        if self.since is not None and before is not None and before < self.since:
            return False
        if self.until is not None and after is not None and after > self.until:
            return False
        if self.signed_since is None and self.signed_until is None:
            return True
        certificates = [hit.facts.signers[at].certificate for at in signers]
        return any(
            one is not None
            and one.signed_at is not None
            and (self.signed_since is None or one.signed_at >= self.signed_since)
            and (self.signed_until is None or one.signed_at <= self.signed_until)
            for one in certificates
        )

    def __str__(self) -> str:
        """Say which times are asked for; empty: all."""
        parts = (
            ("logged since", self.since),
            ("logged until", self.until),
            ("signed since", self.signed_since),
            ("signed until", self.signed_until),
        )
        return ", ".join(f"{what} {utc(at)}" for what, at in parts if at is not None)


ALWAYS: Final = Window()


@frozen
class Group:
    """Hits in one log that have something in common."""

    origin: str
    name: str
    entries: int
    first: int  # index of the first hit
    last: int


def grouped(hits: Sequence[Hit], by: str) -> tuple[Group, ...]:
    """Count hits by log and by one of GROUPS, the most first; one of several names is in each."""
    found: dict[tuple[str, str], list[int]] = {}
    for hit in hits:
        for name in _names_of(hit, by):
            found.setdefault((hit.origin, name), []).append(hit.entry_index)
    groups = [
        Group(origin, name, len(some), min(some), max(some))
        for (origin, name), some in found.items()
    ]
    return tuple(sorted(groups, key=lambda one: (-one.entries, one.origin, one.name)))


def _names_of(hit: Hit, by: str) -> tuple[str, ...]:
    if by == "log":
        return (hit.origin,)
    if by == "digest":
        names = [f"{algorithm}:{value.hex()}" for algorithm, value in hit.facts.digests]
    else:
        names = [
            name
            for one in hit.facts.signers
            for name in (
                [text for _, text in one.certificate.identities]
                if one.certificate is not None
                else [f"{'certificate' if one.is_certificate else 'key'} {one.fingerprint.hex()}"]
            )
        ]
    return tuple(dict.fromkeys(names)) or ("",)


@frozen
class Found:
    """The answer to a search."""

    hits: tuple[Hit, ...]
    coverage: tuple[Scanned, ...]
    more: bool  # there are further hits than were asked for

    @property
    def is_complete(self) -> bool:
        """Whether "not logged" may be said."""
        return bool(self.coverage) and all(one.is_complete for one in self.coverage)


def search(
    store: Store,
    index: Index | None,
    logs: Sequence[Log],
    criteria: Criteria,
    *,
    limit: int,
    vouched_only: bool = False,
    window: Window = ALWAYS,
    progress: Progress = SILENT,
) -> Found:
    """Find entries through the index, or without it (None) by reading all of them.

    With a `window`, only what may be in it. With `vouched_only`, those whose certificate an
    authority of the trusted root issued.
    Raises CorruptError if what is stored of ours does not lead to the proven root.
    """
    hits: list[Hit] = []
    coverage = []
    voucher = Voucher(store, criteria.ca_roots, criteria.ca_intermediates)

    def wanted(hit: Hit) -> bool:
        if window != ALWAYS and not window.holds(hit, matching_signers(criteria, hit.facts)):
            return False
        return not vouched_only or vouched(criteria, hit) is True

    for log in logs:
        mirror = Mirror(store, log)
        scanned = coverage_of(mirror, index)
        opaque = dict(scanned.opaque)
        if scanned.head is not None and index is not None:
            for at in _proposed(criteria, index, log, scanned):
                if len(hits) > limit:
                    break
                hit = read_again(mirror, at, voucher)
                if _decided(criteria, at, hit.facts, opaque) and wanted(hit):
                    hits.append(hit)
        elif scanned.head is not None:
            progress.stage("entries", partial(_count_entries, scanned.ranges))
            for at, facts in rescan(mirror, scanned.head, scanned.ranges, progress):
                if facts.unread:
                    opaque[at] = why_unread(facts)
                if len(hits) <= limit and _decided(criteria, at, facts, opaque):
                    hit = read_again(mirror, at, voucher)
                    hits += [hit] * wanted(hit)
        coverage.append(replaced(scanned, opaque=tuple(sorted(opaque.items()))))
    return Found(tuple(hits[:limit]), tuple(coverage), len(hits) > limit)


def _count_entries(ranges: Sequence[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in ranges)


def why_unread(facts: EntryFacts) -> str:
    """Say what of an entry could not be read, and why."""
    return f"{facts.kind}: {'; '.join(facts.unread)}"


def _decided(criteria: Criteria, at: int, facts: EntryFacts, opaque: dict[int, str]) -> bool:
    """Whether an entry matches; one of which that cannot be told is as good as unread."""
    try:
        return matches(criteria, facts)
    except OverTimeError as error:
        opaque[at] = "; ".join((*filter(None, [opaque.get(at)]), error.message))
        return False


def _proposed(criteria: Criteria, index: Index, log: Log, scanned: Scanned) -> Iterator[int]:
    for at in sorted(proposed(criteria, index, log)):
        if scanned.covers(at):
            yield at


def read_again(mirror: Mirror, entry_index: int, voucher: Voucher) -> Hit:
    """Read an entry from its authenticated entry bundle, prove it and say all that is known."""
    shown = told_apart(mirror, lambda: show_entry(mirror, entry_index))
    return describe(mirror, entry_index, shown.leaf, shown.head, shown.body, voucher)


def describe(
    mirror: Mirror, entry_index: int, leaf: Hash, head: TreeHead, body: bytes, voucher: Voucher
) -> Hit:
    """Say all that is known of an entry that was proven."""
    facts = read_entry(body)
    return Hit(
        mirror.log.origin,
        entry_index,
        leaf,
        head,
        facts,
        *mirror.history.logged_between(entry_index),
        tuple(map(voucher.vouches, facts.signers)),
        subjects_of(mirror.store, [value for _, value in facts.digests]),
        next((row.id for row in holding_at(mirror.store, mirror.log.id, entry_index)), None),
        log_index_of(mirror.store, mirror.log, entry_index),
    )


def vouched(criteria: Criteria, hit: Hit) -> bool | None:
    """Whether one of the certificates that meet the conditions is vouched for; None: unknown.

    Not any certificate of the entry: whoever has one of his own can add a forged one to it.
    """
    answers = {hit.vouched[at] for at in matching_signers(criteria, hit.facts)} - {None}
    return any(answers) if answers else None


def rescan(
    mirror: Mirror,
    head: TreeHead,
    ranges: Sequence[tuple[int, int]],
    progress: Progress,
    remembered: Remembered | None = None,
) -> Iterator[tuple[int, EntryFacts]]:
    """Yield all entries of ranges that begin with an entry bundle, each proven under a head.

    Of a log without tiles those of them that are here. What is `remembered` is not read again.
    """
    if is_in_ranges(mirror):
        for at, body in bodies_of_windows(mirror, head, ranges, progress):
            yield at, read_entry(body)
        return
    tree = TileTree(head)
    bundles = [
        EntryBundle(at // WIDTH, min(WIDTH, stop - at))
        for start, stop in ranges
        for at in range(start, stop, WIDTH)
    ]
    for first in range(0, len(bundles), _TILES_TOGETHER):
        some = bundles[first : first + _TILES_TOGETHER]
        tiles = [tile_at(0, one.index, head.tree_size) for one in some]
        load_ours(mirror, tree, tiles)
        for bundle, tile in zip(some, tiles, strict=True):
            hashes = tree.tile(tile)
            facts = None if remembered is None else remembered.proven(mirror.log, bundle, hashes)
            if facts is None:
                bodies = _bodies(mirror, bundle)
                if not hashes.startswith(leaf_hashes(bodies)):
                    raise corrupt(mirror, f"{bundle.path} (other entries)", [bundle.path])
                facts = tuple(map(read_entry, bodies))
            yield from enumerate(facts, bundle.index * WIDTH)
            progress(bundle.width)
        tree.trim()


def reading_around(
    start: int, stop: int, read: Callable[[int, int], None]
) -> dict[int, CorruptError]:
    """Read a range that begins with an entry bundle; what is damaged of it spoils nothing else.

    Returns the damage by the first entry of its bundle. What `read` did before it raised, it
    does again.
    """
    try:
        read(start, stop)
    except CorruptError as error:
        if stop - start <= WIDTH:
            return {start: error}
        parts = [(at, min(at + WIDTH, stop)) for at in range(start, stop, WIDTH)]
        return {at: one for part in parts for at, one in reading_around(*part, read).items()}
    return {}


def _bodies(mirror: Mirror, bundle: EntryBundle) -> tuple[bytes, ...]:
    return told_apart(mirror, lambda: parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle))


def coverage_of(mirror: Mirror, index: Index | None) -> Scanned:
    """Say what of a log can be looked at: by the index, or by reading all (None)."""
    log, basis = mirror.log, RESCAN if index is None else INDEX
    accepted = mirror.history.accepted()
    covered = readable_checkpoint(mirror)
    if accepted is None:
        return Scanned(log.origin, None, None, basis, (), (), ())
    size = accepted.head.tree_size
    if covered is None:
        gap = Gap(0, size, BEYOND_MIRROR)
        return Scanned(log.origin, None, None, basis, (), (gap,), ())
    # Opened again: what is said of a log must hold under the key that is pinned today.
    head = open_note_of(mirror.store, log, covered.note).head
    believed = head.tree_size
    held = quarantine_of(mirror.store, log)
    if held is not None and held.last_common_size < believed:
        older = [n for n in mirror.history.accepted_sizes() if n <= held.last_common_size]
        believed = older[-1] if older else 0
    ranges, gaps = _ranges(mirror, index, believed)
    if believed < head.tree_size:
        gaps.append(Gap(believed, head.tree_size, QUARANTINED))
    if head.tree_size < size:
        gaps.append(Gap(head.tree_size, size, BEYOND_MIRROR))
    opaque = [] if index is None else [one for one in index.opaque(log) if one[0] < believed]
    return Scanned(
        log.origin,
        head,
        covered.first_seen_at,
        basis,
        tuple(ranges),
        tuple(gaps),
        tuple(opaque),
    )


def _ranges(
    mirror: Mirror, index: Index | None, tree_size: int
) -> tuple[list[tuple[int, int]], list[Gap]]:
    """Split the entries of a tree into what can be looked at, and gaps with their reasons.

    A span that is full and indexed as it is stored is one part; only in others is each entry
    bundle looked at.
    """
    stamps = None if index is None else index.stamps(mirror.log)
    spans = spans_of(mirror)
    absent = CHECKPOINT_ONLY if is_in_ranges(mirror) else NO_ENTRIES
    parts: list[tuple[int, int, str]] = []  # start, stop, why not: empty, it is looked at
    for span in range(-(-tree_size // _SPAN)):
        start, stop = span * _SPAN, min(span * _SPAN + _SPAN, tree_size)
        here = spans.get(span)
        is_indexed = stamps is None or (here is not None and stamps.get(span) == here.stamp)
        if here is None or here.n_entries == 0:
            found = [(start, stop, absent)]
        elif here.n_full == SPAN_TILES and is_indexed:
            found = [(start, stop, "")]
        else:
            found = list(_parts(mirror, None if is_indexed else index, span, stop))
        for part in found:
            if parts and parts[-1][2] == part[2]:
                parts[-1] = (parts[-1][0], *part[1:])
            else:
                parts.append(part)
    ranges = [(start, stop) for start, stop, why in parts if not why]
    return ranges, [Gap(*part) for part in parts if part[2]]


def _parts(
    mirror: Mirror, index: Index | None, span: int, tree_size: int
) -> Iterator[tuple[int, int, str]]:
    """Yield the entry bundles of a span of which not all is the same."""
    stored, in_ranges = blocks_in(mirror, span), is_in_ranges(mirror)
    indexed = None if index is None else index.covered(mirror.log, span)
    for tile in range(
        span * SPAN_TILES, min(span * SPAN_TILES + SPAN_TILES, -(-tree_size // WIDTH))
    ):
        start, stop = tile * WIDTH, min(tile * WIDTH + WIDTH, tree_size)
        here = stored.get(tile)
        # Coverage counts for the very bytes it was made from.
        why = NOT_INDEXED if indexed is not None and indexed.get(tile) != here else ""
        if here is None:
            yield start, stop, CHECKPOINT_ONLY if in_ranges else NO_ENTRIES
        elif in_ranges:
            yield from _around(runs_in(mirror, tile, here[1]), start, stop, why)
        else:
            yield start, stop, why if start + here[1] >= stop else NO_ENTRIES


def _around(
    runs: Sequence[tuple[int, int]], start: int, stop: int, why: str
) -> Iterator[tuple[int, int, str]]:
    """Yield the runs that windows have of a range, and what is between them, ascending."""
    at = start
    for first, last in runs:
        if first >= stop:
            break
        if at < first:
            yield at, first, CHECKPOINT_ONLY
        at = min(last, stop)
        yield first, at, why
    if at < stop:
        yield at, stop, CHECKPOINT_ONLY
