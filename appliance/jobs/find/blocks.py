"""Where the entries are that can be looked at, 256 in a row at a time.

Of a log with tiles these are its entry bundles, each of which holds its first so many. Of a log
without, they are the windows that were fetched, which begin and end anywhere. `digest` of either
is another one as soon as anything in it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256

from appliance.jobs.local_tiles import corrupt, told_apart
from appliance.jobs.our_tree import is_in_ranges, our_tree
from appliance.jobs.progress import Progress
from appliance.store.mirror.entry_windows import EntryWindows
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.spans import SPAN_TILES
from appliance.store.mirror.tile_cache import EntrySpan, entry_bundles_in, entry_spans
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.merkle import TreeHead, leaf_hash
from appliance.tlog.tile import WIDTH, EntryBundle


def spans_of(mirror: Mirror) -> dict[int, EntrySpan]:
    """Return what is here of a log's entries, by their index / 65,536."""
    if not is_in_ranges(mirror):
        return entry_spans(mirror.store, mirror.log)
    found: dict[int, list[tuple[int, int, int]]] = {}
    for at, tile in EntryWindows(mirror.store, mirror.log).tiles().items():
        found.setdefault(at // SPAN_TILES, []).append((at, tile.n_entries, tile.stamp))
    return {
        span: EntrySpan(
            sum(n_entries == WIDTH for _, n_entries, _ in tiles),
            sum(n_entries for _, n_entries, _ in tiles),
            int.from_bytes(sha256(repr(tiles).encode()).digest()[:7]),
        )
        for span, tiles in found.items()
    }


def blocks_in(mirror: Mirror, span: int) -> dict[int, tuple[bytes, int]]:
    """Return digest and number of entries of what is here of one span, by index / 256."""
    if not is_in_ranges(mirror):
        return entry_bundles_in(mirror.store, mirror.log, span)
    tiles = EntryWindows(mirror.store, mirror.log).tiles(span)
    return {at: (str(one.stamp).encode(), one.n_entries) for at, one in tiles.items()}


def runs_in(mirror: Mirror, block: int, n_entries: int) -> list[tuple[int, int]]:
    """Return the ranges of entries that a block has: first, and one beyond the last."""
    first = block * WIDTH
    if n_entries == WIDTH or not is_in_ranges(mirror):
        return [(first, first + n_entries)]
    runs: list[tuple[int, int]] = []
    for at in EntryWindows(mirror.store, mirror.log).indices(first, first + WIDTH):
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


def bodies_in(mirror: Mirror, block: int, n_entries: int) -> list[tuple[int, bytes]]:
    """Return the entries of a block with their places in it.

    Raises IncompleteError if it was pruned meanwhile, VerificationError for one that is damaged.
    """
    if is_in_ranges(mirror):
        stored = EntryWindows(mirror.store, mirror.log)
        first = block * WIDTH
        return [(at - first, stored.read(at)) for at in stored.indices(first, first + WIDTH)]
    bundle = EntryBundle(block, n_entries)
    return list(enumerate(parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)))


def bodies_of_windows(
    mirror: Mirror, head: TreeHead, ranges: Sequence[tuple[int, int]], progress: Progress
) -> Iterator[tuple[int, bytes]]:
    """Yield the entries of ranges that are here in windows, each held against its proven hash."""
    stored, tree = EntryWindows(mirror.store, mirror.log), our_tree(mirror, head)

    def read(at: int) -> bytes:
        body = told_apart(mirror, partial(stored.read, at))
        if leaf_hash(body) != tree.leaf(at):
            raise corrupt(mirror, f"entry {at:,} (another entry)", [f"entry {at}"])
        return body

    for start, stop in ranges:
        for first in range(start, stop, WIDTH):
            for at in stored.indices(first, min(first + WIDTH, stop)):
                yield at, read(at)
            progress(min(first + WIDTH, stop) - first)
