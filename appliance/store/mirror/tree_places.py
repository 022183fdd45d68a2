"""Where each tree of a Rekor v1 instance begins, counted over all its trees."""

from __future__ import annotations

from typing import Final

from appliance.store.database import Store
from appliance.store.mirror.logs import REKOR_V1, Log
from appliance.value import frozen

BY_THE_LOG: Final = ""  # it signed an entry's two indices


@frozen
class TreePlace:
    """How many entries are in the trees before a tree, and who said so."""

    entries_before: int
    said_by: str  # site name; BY_THE_LOG


@frozen
class PlacedTree:
    """A tree of which it is said where it begins, as large as it was accepted here."""

    log_id: int
    origin: str
    place: TreePlace
    size: int

    @property
    def indices(self) -> range:
        """The indices over all trees that it has, if it begins there."""
        return range(self.place.entries_before, self.place.entries_before + self.size)


def tree_place(store: Store, log: Log) -> TreePlace | None:
    """Return where a tree is said to begin, if anybody said so: by itself it is not to be used."""
    row = store.row("SELECT * FROM tree_place WHERE log_id = ?", [log.id])
    return TreePlace(row["entries_before"], row["said_by"]) if row else None


def placed_trees(store: Store, host: str) -> tuple[PlacedTree, ...]:
    """List the trees of an instance of which it is said where they begin, by that."""
    rows = store.rows(
        "SELECT id, origin, entries_before, said_by, (SELECT coalesce(max(tree_size), 0)"
        " FROM checkpoint AS c WHERE c.log_id = log.id) AS size"
        " FROM tree_place JOIN log ON id = log_id"
        " WHERE api_version = ?1 AND substr(origin, 1, length(?2)) = ?2 ORDER BY 3, 1",
        [REKOR_V1, f"{host} - "],
    )
    return tuple(
        PlacedTree(
            row["id"], row["origin"], TreePlace(row["entries_before"], row["said_by"]), row["size"]
        )
        for row in rows
    )


def put_tree_place(store: Store, log: Log, place: TreePlace) -> None:
    """Keep where a tree begins; nobody's word replaces the log's. Call it inside store.atomic()."""
    store.execute(
        "INSERT INTO tree_place VALUES (?1, ?2, ?3) ON CONFLICT (log_id) DO UPDATE SET"
        " entries_before = ?2, said_by = ?3 WHERE said_by <> '' OR ?3 = ''",
        [log.id, place.entries_before, place.said_by],
    )


def drop_tree_place(store: Store, log_id: int) -> None:
    """Forget where a tree begins. Call it inside store.atomic()."""
    store.execute("DELETE FROM tree_place WHERE log_id = ?", [log_id])
