"""Which of the places where trees of a Rekor v1 instance are said to begin can be true together.

No index over all trees is in two of them. Where the accepted sizes of two trees say otherwise,
one of the two places is wrong, and neither is used until it is known which: but what the log
signed is not put in doubt by what an exporter claims.
"""

from __future__ import annotations

from itertools import islice

from appliance.store.database import Store
from appliance.store.mirror.logs import Log, find_log, key_name
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tree_places import (
    BY_THE_LOG,
    PlacedTree,
    TreePlace,
    placed_trees,
    tree_place,
)


def conflicts(store: Store, host: str) -> tuple[tuple[PlacedTree, PlacedTree], ...]:
    """List the pairs of trees of which an index would be in both, that which begins first first."""
    found, trees = [], [one for one in placed_trees(store, host) if one.size]
    for number, first in enumerate(trees):
        for second in islice(trees, number + 1, None):
            if second.indices.start not in first.indices:
                break  # they are in order: no later one does either
            if not _goes_on(store, first, second):
                found.append((first, second))
    return tuple(found)


def disputed(store: Store, host: str) -> frozenset[int]:
    """Return which trees begin where they cannot, as far as is known: ids of their logs."""
    found = set()
    for pair in conflicts(store, host):
        claims = [one for one in pair if one.place.said_by != BY_THE_LOG]
        signs = len(claims) < len(pair)
        found |= {one.log_id for one in (claims if claims and signs else pair)}
    return frozenset(found)


def usable_place(store: Store, log: Log) -> TreePlace | None:
    """Return where a tree begins; None: that is not known, or cannot be as it was said."""
    place = tree_place(store, log)
    if place is None or log.id in disputed(store, key_name(log.api_version, log.origin)):
        return None
    return place


def _goes_on(store: Store, first: PlacedTree, second: PlacedTree) -> bool:
    """Whether a tree grew after it was closed: the next begins where a head of it had ended."""
    if not first.place.said_by == second.place.said_by == BY_THE_LOG:
        return False
    closed_at = second.indices.start - first.indices.start
    log = find_log(store, first.origin)
    return bool(closed_at and log and Mirror(store, log).history.at(closed_at))
