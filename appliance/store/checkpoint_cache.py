"""Forgetting old checkpoints, but never one that something rests on (checkpoints prune)."""

from __future__ import annotations

from typing import Final

from appliance.store.database import Store
from appliance.store.logs import Log

# The newest; the mirror checkpoint; where deltas begin and end; what a holding quarantine
# falls back to; what is half of a piece of evidence.
_PRUNABLE: Final = """
    SELECT tree_size FROM checkpoint AS c WHERE log_id = ?1 AND stored_at < ?2
     AND tree_size < (SELECT max(tree_size) FROM checkpoint WHERE log_id = ?1)
     AND tree_size IS NOT (SELECT mirror_size FROM log WHERE id = ?1)
     AND NOT EXISTS (SELECT 1 FROM transfer_log AS t JOIN log ON log.origin = t.origin
         WHERE log.id = ?1 AND c.tree_size IN (t.base_size, t.head_size, t.old_size, t.new_size))
     AND tree_size IS NOT (SELECT max(tree_size) FROM checkpoint WHERE log_id = ?1 AND tree_size <=
         (SELECT last_common_size FROM quarantine WHERE log_id = ?1 AND lifted_at IS NULL))
     AND NOT EXISTS (SELECT 1 FROM evidence AS e JOIN checkpoint_note AS n ON n.log_id = e.log_id
         WHERE e.log_id = ?1 AND n.tree_size = c.tree_size AND n.note IN (e.ours, e.theirs))
    ORDER BY tree_size
"""


def prunable_sizes(store: Store, log: Log, stored_before: int) -> tuple[int, ...]:
    """List the sizes of checkpoints stored before a time that nothing rests on, ascending."""
    return tuple(row["tree_size"] for row in store.rows(_PRUNABLE, [log.id, stored_before]))


def forget_checkpoints(store: Store, log: Log, sizes: tuple[int, ...]) -> None:
    """Delete checkpoints and their notes. Call it inside store.atomic()."""
    for table in ("checkpoint_note", "checkpoint"):
        store.execute_many(
            f"DELETE FROM {table} WHERE log_id = ? AND tree_size = ?",  # noqa: S608 ours
            [(log.id, size) for size in sizes],
        )
