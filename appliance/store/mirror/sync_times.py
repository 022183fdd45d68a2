"""When a log and a backend last answered, and when a checkpoint or an import last came."""

from __future__ import annotations

from appliance.store.database import Store
from appliance.store.mirror.logs import Log


def record_sync(store: Store, log: Log, at: int, answered_at: int) -> None:
    """Record that a checkpoint of a log arrived at `at`, from a log that answered then or before.

    A clock set back records nothing older.
    """
    store.execute(
        "INSERT INTO last_sync (log_id, at, answered_at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET at = max(at, excluded.at),"
        " answered_at = max(coalesce(answered_at, excluded.answered_at), excluded.answered_at)",
        [log.id, at, min(at, answered_at)],
    )


def record_answer(store: Store, backend: str, at: int) -> None:
    """Record that a backend offered a valid checkpoint."""
    store.execute(
        "INSERT INTO backend_run (backend, attempted_at, answered_at) VALUES (?1, ?2, ?2)"
        " ON CONFLICT DO UPDATE SET answered_at = max(coalesce(answered_at, 0), ?2)",
        [backend, at],
    )


def last_sync(store: Store, log: Log) -> int | None:
    """Return when a checkpoint of a log last arrived, Unix seconds; None: never."""
    row = store.row("SELECT at FROM last_sync WHERE log_id = ?", [log.id])
    return None if row is None else int(row["at"])


def last_answer(store: Store, log: Log) -> int | None:
    """Return when a log last answered validly, us or the site we import from; None: never."""
    row = store.row("SELECT answered_at FROM last_sync WHERE log_id = ?", [log.id])
    return None if row is None else row["answered_at"]


def last_import(store: Store) -> int | None:
    """Return when a transfer bundle was last imported, Unix seconds; None: never."""
    row = store.row("SELECT max(at) AS at FROM transfer WHERE direction = 'import'")
    return None if row is None else row["at"]
