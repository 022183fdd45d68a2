"""When the keys of a log are valid, as a trusted root says."""

from __future__ import annotations

from appliance.store.database import Store
from appliance.store.logs import Log


def put_window(store: Store, log: Log, spki: bytes, start: int | None, end: int | None) -> bool:
    """Record the window of one key (Unix seconds; None: open); whether that changed anything."""
    changed = store.execute(
        "UPDATE log_key SET valid_from = ?1, valid_until = ?2 WHERE log_id = ?3 AND spki = ?4"
        " AND (valid_from IS NOT ?1 OR valid_until IS NOT ?2)",
        [start, end, log.id, spki],
    )
    return changed.rowcount > 0


def key_windows(store: Store, log: Log) -> dict[bytes, tuple[int | None, int | None]]:
    """Return the window of each key of a log, by SPKI."""
    rows = store.rows("SELECT * FROM log_key WHERE log_id = ?", [log.id])
    return {row["spki"]: (row["valid_from"], row["valid_until"]) for row in rows}


def window_end(store: Store, log: Log) -> int | None:
    """Return when the last key of a log ends, Unix seconds; None: one does not."""
    ends = [end for _, end in key_windows(store, log).values()]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None
