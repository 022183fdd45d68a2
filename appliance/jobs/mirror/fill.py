"""Store what a mirror lacks under its accepted head: parents before children, batch by batch.

Each tile is authenticated by its parent before it is stored, each entry bundle by its
tile. A run that dies loses at most one batch; the next finds the rest missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Final, TypeVar

from appliance.errors import MalformedError, ProofError, RemoteError
from appliance.jobs.local_tiles import load_ours, told_apart
from appliance.jobs.progress import Progress
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.log_source import LogSource
from appliance.tlog.tile import WIDTH, EntryBundle, Tile
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen

BATCH_BYTES: Final = 16 * 1024 * 1024  # of entries in memory: their sizes are the log's choice
BATCH_TILES: Final = 512  # made durable together; an interrupted run loses at most these


T = TypeVar("T")
# Has other processes place tiles, each authenticated by a parent that is here: takes batches
# of one level each, parents first, and yields each with those it placed, which are durable
# blobs of these digests, and named by no row yet.
Place = Callable[
    [Mirror, TileTree, Iterable[list[Tile]]], Iterator[tuple[list[Tile], Mapping[Tile, bytes]]]
]


@frozen
class Wanted:
    """How much of the tree to bring."""

    tiles: bool = True  # hash tiles beyond those that the consistency proof needs
    entries: bool = False  # entry bundles as well
    entries_go_on: bool = False  # but none before the first that is here: those were pruned
    limit: int | None = None  # at most so many tiles and entry bundles; None: all of them
    # A source that holds only a part says which; what it lacks is left for another.
    has: Callable[[Tile | EntryBundle], bool] = lambda _: True
    # And lists it: tiles, parents first, and entry bundles, each sorted. None: ask for anything.
    offered: Callable[[], tuple[Sequence[Tile], Sequence[EntryBundle]]] | None = None
    from_older: bool = False  # a source behind us may fill what we lack; else it is left alone
    place: Place | None = None  # None: we hash all tiles ourselves


@frozen
class Filled:
    """What was stored, and whether nothing wanted is missing any more."""

    tiles: int = 0
    entry_bundles: int = 0
    complete: bool = True


def fill(
    mirror: Mirror, tree: TileTree, source: LogSource, wanted: Wanted, progress: Progress
) -> Filled:
    """Store what is missing of `tree`, the accepted one, as far as `wanted` goes.

    Raises ProofError or MalformedError for wrong bytes, and what the source raises.
    """
    size = tree.head.tree_size
    left = wanted.limit
    tiles = bundles = 0
    _restore_edge(mirror, tree, source, wanted)
    if wanted.tiles:
        progress.stage("tiles", lambda: _at_most(left, _count_tiles(mirror, size, wanted)))
        offered = islice(filter(wanted.has, _missing_tiles(mirror, size, wanted)), left)
        levels = groupby(offered, lambda tile: tile.level)
        batches = (batch for _, row in levels for batch in _batches(row))
        place = wanted.place or _place_none
        for batch, placed in place(mirror, tree, batches):
            if placed:
                mirror.add_placed(placed)
            if rest := [tile for tile in batch if tile not in placed]:
                got, failure = _fetch(source, rest)
                _authenticate(mirror, tree, list(got), got)
                mirror.add(got, {})  # what came is kept, even if no more does
                if failure is not None:
                    progress(len(got))
                    raise failure
            tree.trim()
            tiles += len(batch)
            left = None if left is None else left - len(batch)
            progress(len(batch))
    if wanted.entries:
        brings = filter(wanted.has, _missing_entry_bundles(mirror, size, wanted))
        progress.stage(
            "entry bundles", lambda: _at_most(left, _count_entry_bundles(mirror, size, wanted))
        )
        for bundle_batch in _batches(islice(brings, left)):
            for brought in _by_bytes(source.entry_bundles(bundle_batch)):
                for bundle, data in brought.items():
                    check_entries(mirror, tree, bundle, data)
                mirror.add({}, brought)
                tree.trim()
                bundles += len(brought)
                progress(len(brought))
    left_of = _first_entry(mirror, wanted) * WIDTH
    complete = not (wanted.tiles and any(True for _ in mirror.missing_tiles(size))) and not (
        wanted.entries and any(True for _ in mirror.missing_entry_bundles(size, left_of))
    )
    return Filled(tiles, bundles, complete)


def _missing_tiles(mirror: Mirror, size: int, wanted: Wanted) -> Iterator[Tile]:
    """Yield what is missing, walking over what the source has where it has not all of it."""
    if wanted.offered is None:
        return mirror.missing_tiles(size)
    return mirror.missing_among(wanted.offered()[0], size)


def _count_tiles(mirror: Mirror, size: int, wanted: Wanted) -> int:
    if wanted.offered is None:
        return mirror.count_missing(size)
    return sum(map(wanted.has, _missing_tiles(mirror, size, wanted)))


def _count_entry_bundles(mirror: Mirror, size: int, wanted: Wanted) -> int:
    return sum(map(wanted.has, _missing_entry_bundles(mirror, size, wanted)))


def _at_most(limit: int | None, count: int) -> int:
    return count if limit is None else min(limit, count)


def _missing_entry_bundles(mirror: Mirror, size: int, wanted: Wanted) -> Iterator[EntryBundle]:
    """Yield what is missing and can be proven, as its tile is here."""
    if wanted.offered is None:
        return mirror.provable_entry_bundles(size, _first_entry(mirror, wanted))
    missing = mirror.missing_bundles_among(wanted.offered()[1], size)
    return (bundle for bundle in missing if mirror.has_tile(bundle.tile))


def _first_entry(mirror: Mirror, wanted: Wanted) -> int:
    return mirror.first_entry_bundle() if wanted.entries_go_on else 0


def _restore_edge(mirror: Mirror, tree: TileTree, source: LogSource, wanted: Wanted) -> None:
    """Bring back a right edge that was lost: nothing can be authenticated without it."""
    lost = [tile for tile in tree.edge if not mirror.has_tile(tile)]
    if lost and all(map(wanted.has, tree.edge)):
        tree.load([], lambda tiles: fetch_tiles(source, tiles))
        mirror.add({tile: tree.tile(tile) for tile in tree.edge}, {})


def fetch_tiles(source: LogSource, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
    """Fetch exactly the wanted tiles: one more would be stored without being authenticated."""
    got, failure = _fetch(source, wanted)
    if failure is not None:
        raise failure
    return got


def _fetch(
    source: LogSource, wanted: Sequence[Tile]
) -> tuple[dict[Tile, bytes], RemoteError | None]:
    """Return the wanted tiles; fewer only together with how the source failed."""
    got: dict[Tile, bytes] = {}
    failure = None
    try:
        for tile, data in source.tiles(wanted):
            got[tile] = data
    except RemoteError as error:
        failure = error
    if not got.keys() <= set(wanted) or (failure is None and len(got) < len(set(wanted))):
        raise MalformedError(
            f"{source.description}: asked for {len(wanted)} tiles, {len(got)} others came",
            reason="source",
        )
    return got, failure


def _authenticate(
    mirror: Mirror, tree: TileTree, batch: Sequence[Tile], got: dict[Tile, bytes]
) -> None:
    """Authenticate new tiles under the head; their parents are new too, or ours."""

    def read(wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        lacking = [tile for tile in wanted if tile not in got]
        ours = told_apart(mirror, lambda: mirror.read_tiles(lacking))
        return ours | {tile: got[tile] for tile in wanted if tile in got}

    # Ours alone first: what does not authenticate of them is damage here, not a wrong answer.
    siblings = {(tile.level, tile.index // WIDTH): tile for tile in batch}  # have one chain
    chains = [tree.parents(tile)[:-1] for tile in siblings.values()]
    own = {tile for chain in chains if not set(chain) & got.keys() for tile in chain}
    if own and not got.keys() & set(tree.edge):
        load_ours(mirror, tree, own)
    tree.load(batch, read)


def check_entries(mirror: Mirror, tree: TileTree, bundle: EntryBundle, data: bytes) -> None:
    """Raise ProofError unless the entries have the leaf hashes of the authenticated tile."""
    load_ours(mirror, tree, [bundle.tile])
    if leaf_hashes(parse_entry_bundle(data, bundle)) != tree.tile(bundle.tile):
        raise ProofError(
            f"{bundle.path}: its entries do not have the leaf hashes of {bundle.tile.path}",
            reason="entry-bundle",
        )


def _place_none(
    _: Mirror, __: TileTree, batches: Iterable[list[Tile]]
) -> Iterator[tuple[list[Tile], Mapping[Tile, bytes]]]:
    for batch in batches:
        yield batch, {}


def _by_bytes(
    pairs: Iterable[tuple[EntryBundle, bytes]],
) -> Iterator[dict[EntryBundle, bytes]]:
    """Cut what comes into parts that reach BATCH_BYTES; no more is in memory, whatever came.

    Where the source fails, what came by then is yielded before its error is raised.
    """
    part: dict[EntryBundle, bytes] = {}
    n_bytes = 0
    try:
        for bundle, data in pairs:
            part[bundle] = data
            n_bytes += len(data)
            if n_bytes >= BATCH_BYTES:
                yield part
                part, n_bytes = {}, 0
    except RemoteError:
        if part:
            yield part
        raise
    if part:
        yield part


def _batches(items: Iterator[T]) -> Iterator[list[T]]:
    """Cut `items` into lists of BATCH_TILES."""
    while batch := list(islice(items, BATCH_TILES)):
        yield batch
