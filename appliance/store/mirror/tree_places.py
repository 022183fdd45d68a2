"""Where each tree of a Rekor v1 instance begins, counted over all its trees."""

from __future__ import annotations

from typing import Final

from appliance.store.database import Store
from appliance.store.mirror.logs import Log, all_logs
from appliance.value import frozen

BY_THE_LOG: Final = ""  # it signed an entry's two indices


@frozen
class TreePlace:
    """How many entries are in the trees before a tree, and who said so."""

    entries_before: int
    said_by: str  # site name; BY_THE_LOG


def tree_place(store: Store, log: Log) -> TreePlace | None:
    """Return where a tree begins, if that is known here."""
    row = store.row("SELECT * FROM tree_place WHERE log_id = ?", [log.id])
    return TreePlace(row["entries_before"], row["said_by"]) if row else None


def placed_trees(store: Store) -> tuple[tuple[Log, TreePlace], ...]:
    """List the trees of which it is known where they begin, by that."""
    found = [(log, place) for log in all_logs(store) if (place := tree_place(store, log))]
    return tuple(sorted(found, key=lambda one: one[1].entries_before))


def put_tree_place(store: Store, log: Log, place: TreePlace) -> None:
    """Keep where a tree begins; nobody's word replaces the log's. Call it inside store.atomic()."""
    store.execute(
        "INSERT INTO tree_place VALUES (?1, ?2, ?3) ON CONFLICT (log_id) DO UPDATE SET"
        " entries_before = ?2, said_by = ?3 WHERE said_by <> '' OR ?3 = ''",
        [log.id, place.entries_before, place.said_by],
    )
