"""Hashes of leaf ranges of a log without tiles, each proven under an accepted checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from appliance.store.database import Store
from appliance.store.mirror.logs import Log
from appliance.tlog.merkle import Hash

_EDGE = "((stop - start) & (stop - start - 1)) <> 0"  # no perfect subtree: of one tree size only


class ProvenRanges:
    """The ranges of one log, by first leaf and one beyond the last."""

    def __init__(self, store: Store, log: Log) -> None:
        self.store = store
        self.log = log

    def find(self, start: int, stop: int) -> Hash | None:
        """Return the hash of exactly this range, if it is here."""
        row = self.store.row(
            "SELECT hash FROM proven_range WHERE log_id = ? AND start = ? AND stop = ?",
            [self.log.id, start, stop],
        )
        return None if row is None else Hash(row["hash"])

    def is_any_inside(self, start: int, stop: int) -> bool:
        """Whether a hash of any part of a range is here."""
        row = self.store.row(
            "SELECT 1 FROM proven_range WHERE log_id = ?1 AND start >= ?2 AND start < ?3"
            " AND stop <= ?3 LIMIT 1",
            [self.log.id, start, stop],
        )
        return row is not None

    def put(self, ranges: Mapping[tuple[int, int], Hash], tree_size: int) -> None:
        """Keep ranges proven under the accepted checkpoint of `tree_size`, the newest there is.

        What belongs to smaller trees only goes. Call it inside store.atomic().
        """
        self.store.execute_many(
            "INSERT INTO proven_range VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET hash = excluded.hash WHERE hash <> excluded.hash",  # one that rotted here
            [(self.log.id, start, stop, value) for (start, stop), value in ranges.items()],
        )
        self.store.execute(
            f"DELETE FROM proven_range WHERE log_id = ? AND stop < ? AND {_EDGE}",  # noqa: S608
            [self.log.id, tree_size],
        )

    def keep_only(self, needed: Collection[tuple[int, int]]) -> int:
        """Forget every other range; return how many. Call it inside store.atomic()."""
        rows = self.store.rows(
            "SELECT start, stop FROM proven_range WHERE log_id = ?", [self.log.id]
        )
        gone = [
            (self.log.id, row["start"], row["stop"])
            for row in rows
            if (row["start"], row["stop"]) not in needed
        ]
        self.store.execute_many(
            "DELETE FROM proven_range WHERE log_id = ? AND start = ? AND stop = ?", gone
        )
        return len(gone)


class LackingProofs:
    """The accepted sizes of one log whose proof to the newest may not be here, or is damaged."""

    def __init__(self, store: Store, log: Log) -> None:
        self.store = store
        self.log = log

    def sizes(self) -> list[int]:
        """List them, ascending."""
        rows = self.store.rows(
            "SELECT tree_size FROM lacking_proof WHERE log_id = ? ORDER BY tree_size",
            [self.log.id],
        )
        return [row["tree_size"] for row in rows]

    def add(self, tree_size: int) -> None:
        """Have the proof of a size fetched anew. Call it inside store.atomic()."""
        self.store.execute(
            "INSERT INTO lacking_proof VALUES (?, ?) ON CONFLICT DO NOTHING",
            [self.log.id, tree_size],
        )

    def settle(self, tree_size: int) -> None:
        """Take off a size whose proof is here. Call it inside store.atomic()."""
        self.store.execute(
            "DELETE FROM lacking_proof WHERE log_id = ? AND tree_size = ?",
            [self.log.id, tree_size],
        )
