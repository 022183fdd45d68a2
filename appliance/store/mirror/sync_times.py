"""When each log last answered, and the newest time that anything here was recorded at."""

from __future__ import annotations

from typing import Final

from appliance.store.database import Store
from appliance.store.mirror.logs import Log

# What our clock said at a time; first_seen_at may be another site's, but it was signed.
_NEWEST: Final = (
    "SELECT max(at) AS at FROM (SELECT max(stored_at) AS at FROM checkpoint"
    " UNION ALL SELECT max(first_seen_at) FROM checkpoint"
    " UNION ALL SELECT max(seen_at) FROM checkpoint_note"
    " UNION ALL SELECT max(detected_at) FROM evidence UNION ALL SELECT max(at) FROM transfer"
    " UNION ALL SELECT max(imported_at) FROM trusted_root UNION ALL SELECT max(at) FROM last_sync)"
)


def record_sync(store: Store, log: Log, at: int) -> None:
    """Record that a checkpoint of a log arrived; a clock set back records nothing older."""
    store.execute(
        "INSERT INTO last_sync VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
        [log.id, at],
    )


def last_sync(store: Store, log: Log) -> int | None:
    """Return when a checkpoint of a log last arrived, Unix seconds; None: never."""
    row = store.row("SELECT at FROM last_sync WHERE log_id = ?", [log.id])
    return None if row is None else int(row["at"])


def newest_time(store: Store) -> int | None:
    """Return the newest time this store remembers, Unix seconds; None: none."""
    row = store.row(_NEWEST)
    return None if row is None else row["at"]


def last_import(store: Store) -> int | None:
    """Return when a transfer bundle was last imported, Unix seconds; None: never."""
    row = store.row("SELECT max(at) AS at FROM transfer WHERE direction = 'import'")
    return None if row is None else row["at"]
