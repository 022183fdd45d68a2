"""Store what a mirror lacks under its accepted head: parents before children, batch by batch.

Each tile is authenticated by its parent before it is stored, each entry bundle by its
tile. The source goes on fetching while a batch is made durable. A run that dies loses at most
one batch and what was on its way; the next finds the rest missing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Final, TypeVar

from appliance.errors import MalformedError, ProofError, RemoteError
from appliance.jobs.local_tiles import load_ours, told_apart
from appliance.jobs.progress import Progress
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.log_source import LogSource, ending
from appliance.tlog.tile import WIDTH, EntryBundle, Tile
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen

BATCH_BYTES: Final = 16 * 1024 * 1024  # of entries, nearly: their sizes are the log's choice
BATCH_TILES: Final = 256  # made durable together, and so are as many entry bundles at most

T = TypeVar("T")
P = TypeVar("P", Tile, EntryBundle)
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
    offered: Callable[[], tuple[Iterable[Tile], Iterable[EntryBundle]]] | None = None
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
        with ending(_fill_tiles(mirror, tree, source, wanted.place, offered)) as stored:
            for n_stored in stored:
                tiles += n_stored
                progress(n_stored)
        left = None if left is None else left - tiles
    if wanted.entries:
        brings = filter(wanted.has, _missing_entry_bundles(mirror, size, wanted))
        progress.stage(
            "entry bundles", lambda: _at_most(left, _count_entry_bundles(mirror, size, wanted))
        )
        with ending(_bring_entries(mirror, tree, source, islice(brings, left))) as stored:
            for n_stored in stored:
                bundles += n_stored
                progress(n_stored)
    left_of = _first_entry(mirror, wanted) * WIDTH
    complete = not (wanted.tiles and any(True for _ in mirror.missing_tiles(size))) and not (
        wanted.entries and any(True for _ in mirror.missing_entry_bundles(size, left_of))
    )
    return Filled(tiles, bundles, complete)


def _fill_tiles(
    mirror: Mirror, tree: TileTree, source: LogSource, place: Place | None, wanted: Iterator[Tile]
) -> Iterator[int]:
    """Store tiles, parents first; yields how many, each time some are durable."""
    levels = groupby(wanted, lambda tile: tile.level)  # no child is asked for beside its parent
    if place is None:
        for _, row in levels:
            yield from _bring(mirror, tree, source, row)
        return
    batches = (part for _, row in levels for part in _batches(row))
    with ending(place(mirror, tree, batches)) as done:
        for batch, placed in done:
            if placed:
                mirror.add_placed(placed)
            yield len(placed)
            yield from _bring(mirror, tree, source, (tile for tile in batch if tile not in placed))
            tree.trim()


def _bring(
    mirror: Mirror, tree: TileTree, source: LogSource, wanted: Iterable[Tile]
) -> Iterator[int]:
    """Store tiles of one level from a source; yields how many, as _fill_tiles does."""
    check = partial(_authenticate, mirror, tree)
    return _store(_exactly(source, source.tiles, wanted), check, mirror.add_tiles, tree)


def _bring_entries(
    mirror: Mirror, tree: TileTree, source: LogSource, wanted: Iterable[EntryBundle]
) -> Iterator[int]:
    """Store entry bundles; yields how many, each time some are durable."""
    check = partial(check_entries, mirror, tree)
    fetched = _exactly(source, source.entry_bundles, wanted)
    return _store(fetched, check, mirror.add_entry_bundles, tree)


def _store(
    fetched: Iterator[tuple[P, bytes]],
    check: Callable[[P, bytes], None],
    add: Callable[[Iterable[tuple[P, bytes]]], int],
    tree: TileTree,
) -> Iterator[int]:
    """Store what is fetched, a part at a time, each piece once it is checked."""

    def checked(part: Iterable[tuple[P, bytes]]) -> Iterator[tuple[P, bytes]]:
        for place, data in part:
            check(place, data)
            yield place, data

    with ending(fetched) as coming:
        for part in _parts(coming):
            # Each is written as it comes: hashing many at once, we would keep waiting the
            # threads that fetch. What came is kept, even if no more does.
            n_stored = add(checked(part))
            tree.trim()
            yield n_stored


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
    return dict(_exactly(source, source.tiles, dict.fromkeys(wanted)))


def _exactly(
    source: LogSource,
    fetch: Callable[[Iterable[P]], Iterator[tuple[P, bytes]]],
    wanted: Iterable[P],
) -> Generator[tuple[P, bytes]]:
    """Yield what `fetch` brings of `wanted`: all of it, once each, and nothing else.

    Raises MalformedError for a source that does otherwise, and what the source raises.
    """
    awaited: set[P] = set()

    def asking() -> Iterator[P]:
        for place in wanted:
            awaited.add(place)
            yield place

    with ending(fetch(asking())) as brought:
        for place, data in brought:
            if place not in awaited:
                raise MalformedError(
                    f"{source.description}: {place.path} came, which was not asked for",
                    reason="source",
                )
            awaited.remove(place)
            yield place, data
    if awaited:
        raise MalformedError(
            f"{source.description}: {min(awaited).path} was asked for, and did not come",
            reason="source",
        )


def _authenticate(mirror: Mirror, tree: TileTree, tile: Tile, data: bytes) -> None:
    """Authenticate a new tile under the head; its parents are ours."""

    def read(wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        ours = [one for one in wanted if one != tile]
        got = told_apart(mirror, lambda: mirror.read_tiles(ours))
        return got | ({tile: data} if tile in wanted else {})

    if not tile.is_full:
        tree.load([tile], read)
        return
    if not tree.has_parent(tile):
        # Ours alone: what does not authenticate of them is damage here, not a wrong answer.
        load_ours(mirror, tree, tree.parents(tile)[:-1])
    tree.add(tile, data)


def check_entries(mirror: Mirror, tree: TileTree, bundle: EntryBundle, data: bytes) -> None:
    """Raise ProofError unless the entries have the leaf hashes of the authenticated tile."""
    load_ours(mirror, tree, [bundle.tile])
    if leaf_hashes(parse_entry_bundle(data, bundle)) != tree.tile(bundle.tile):
        raise ProofError(
            f"{bundle.path}: its entries do not have the leaf hashes of {bundle.tile.path}",
            reason="entry-bundle",
        )


def _parts(coming: Iterator[tuple[P, bytes]]) -> Iterator[Iterator[tuple[P, bytes]]]:
    """Cut what comes into parts of BATCH_TILES that reach BATCH_BYTES.

    Each is to be read to its end before the next. Where the source fails, what came by then
    is a part before its error is raised.
    """
    ends: list[RemoteError | None] = []

    def part() -> Iterator[tuple[P, bytes]]:
        n_bytes = 0
        try:
            for n_places, (place, data) in enumerate(coming, 1):
                yield place, data
                n_bytes += len(data)
                if n_places >= BATCH_TILES or n_bytes >= BATCH_BYTES:
                    return
            ends.append(None)
        except RemoteError as error:
            ends.append(error)

    while not ends:
        yield part()
    if ends[0] is not None:
        raise ends[0]


def _batches(items: Iterator[T]) -> Iterator[list[T]]:
    """Cut `items` into lists of BATCH_TILES."""
    while batch := list(islice(items, BATCH_TILES)):
        yield batch
