"""Fetch chosen tiles again, to repair what an audit found damaged (tiles fetch)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from appliance.errors import CorruptError, IncompleteError
from appliance.jobs.mirror.fill import check_entries, fetch_tiles
from appliance.store.mirror.mirror import Mirror
from appliance.store.references import unreferenced
from appliance.tlog.log_source import LogSource
from appliance.tlog.tile import HEIGHT, WIDTH, EntryBundle, Tile, tile_at
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen

MAX_REFETCHED: Final = 512  # in one run; the rest stays marked for the next


@frozen
class RefetchReport:
    """What was fetched again."""

    origin: str
    tiles: tuple[str, ...]  # paths
    entry_bundles: tuple[str, ...]  # paths


def refetch(mirror: Mirror, source: LogSource, indices: Sequence[int]) -> RefetchReport:
    """Fetch level 0 tiles, the tiles above them and their entry bundles again, and store them.

    Each is authenticated under the accepted checkpoint; nothing of what is stored is
    trusted for it. Raises IncompleteError for an index beyond the tree, and what absorb raises.
    """
    accepted = mirror.history.accepted()
    if accepted is None:
        raise IncompleteError(
            f"nothing of {mirror.log.origin} was accepted yet", reason="no-checkpoint"
        )
    size = accepted.head.tree_size
    if beyond := [index for index in indices if index * WIDTH >= size]:
        raise IncompleteError(
            f"{mirror.log.origin} has {-(-size // WIDTH)} level 0 tiles, there is no {beyond[0]}",
            reason="tile-index",
            next_step=f"name one below {-(-size // WIDTH)}",
        )
    wanted = [tile_at(0, index, size) for index in sorted(set(indices))]
    tree = TileTree(accepted.head)
    got: dict[Tile, bytes] = {}

    def read(tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        brought = fetch_tiles(source, tiles)
        got.update(brought)
        return brought

    tree.load(wanted, read)
    mirror.add(got, {})
    bundles = [
        bundle
        for tile in wanted
        if mirror.has_entry_bundle(bundle := EntryBundle(tile.index, tile.width))
    ]
    entries = dict(source.entry_bundles(bundles))
    for bundle, data in entries.items():
        check_entries(mirror, tree, bundle, data)
    mirror.add({}, entries)
    return RefetchReport(
        mirror.log.origin,
        tuple(tile.path for tile in sorted(got)),
        tuple(bundle.path for bundle in sorted(entries)),
    )


def refetch_damaged(mirror: Mirror, source: LogSource) -> int:
    """Fetch again what was found damaged or gone since the last sync; return how many tiles.

    Whoever reads a blob and finds it so marks it. Raises as refetch does; then it stays marked.
    """
    blobs = mirror.store.blobs
    marked = blobs.marked()
    places = list(islice(mirror.places_of(marked), MAX_REFETCHED))
    if places:
        indices = {_first_below(place) for place in places}
        refetch(mirror, source, sorted(indices))
    for digest in marked:
        if not unreferenced(mirror.store, [digest]):
            try:
                blobs.get(digest)
            except CorruptError:
                continue  # of another log, or of more than one run
        blobs.unmark(digest)
    return len(places)


def _first_below(place: Tile | EntryBundle) -> int:
    """Return the index of a level 0 tile that a place is, or is above."""
    return place.index << (HEIGHT * place.level) if isinstance(place, Tile) else place.index
