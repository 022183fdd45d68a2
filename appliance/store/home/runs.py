"""How syncs and commands ended, because a cron job forgets."""

from __future__ import annotations

from appliance.store.database import Store
from appliance.store.mirror.logs import Log
from appliance.value import frozen


@frozen
class BackendRun:
    """How the syncs of one backend went. Times are Unix seconds."""

    backend: str
    attempted_at: int  # last
    succeeded_at: int | None  # last; None: never
    confirmed_at: int | None  # when it last offered our head or a newer one
    behind_since: int | None  # None: what it offered last was not older than ours
    behind_count: int  # times in a row that it was older
    failures: int  # times in a row that it did not succeed


@frozen
class CommandRun:
    """How a command ended last."""

    command: str  # without the program's name
    exit_code: int
    ended_at: int  # Unix seconds


def backend_run(store: Store, backend: str) -> BackendRun | None:
    """Return how the syncs of a backend went; None: there was none."""
    return next((one for one in backend_runs(store) if one.backend == backend), None)


def backend_runs(store: Store) -> tuple[BackendRun, ...]:
    """List how the syncs of every backend went, by name."""
    return tuple(
        BackendRun(*row)
        for row in store.rows(
            "SELECT backend, attempted_at, succeeded_at, confirmed_at, behind_since, behind_count,"
            " failures FROM backend_run ORDER BY backend"
        )
    )


def confirmed_at(store: Store, log: Log) -> int | None:
    """Return when any backend of a log last offered the head we hold, Unix seconds."""
    row = store.row(
        "SELECT max(confirmed_at) AS at FROM backend_run JOIN backend ON name = backend"
        " WHERE log_id = ?",
        [log.id],
    )
    return None if row is None else row["at"]


def record_success(store: Store, backend: str, at: int, *, behind: bool) -> None:
    """Record that a sync succeeded, and whether what it was offered is older than ours."""
    store.execute(
        "INSERT INTO backend_run (backend, attempted_at, succeeded_at, confirmed_at,"
        " behind_since, behind_count) VALUES (?1, ?2, ?2, iif(?3, NULL, ?2), iif(?3, ?2, NULL), ?3)"
        " ON CONFLICT DO UPDATE SET attempted_at = ?2, succeeded_at = ?2, failures = 0,"
        " confirmed_at = iif(?3, confirmed_at, ?2),"
        " behind_since = iif(?3, coalesce(behind_since, ?2), NULL),"
        " behind_count = iif(?3, behind_count + 1, 0)",
        [backend, at, behind],
    )


def record_failure(store: Store, backend: str, at: int) -> None:
    """Record that a sync was tried and did not succeed."""
    store.execute(
        "INSERT INTO backend_run (backend, attempted_at, failures) VALUES (?1, ?2, 1)"
        " ON CONFLICT DO UPDATE SET attempted_at = ?2, failures = failures + 1",
        [backend, at],
    )


def record_command(store: Store, command: str, exit_code: int, at: int) -> None:
    """Record how a command ended."""
    store.execute(
        "INSERT INTO command_run VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
        " exit_code = excluded.exit_code, ended_at = excluded.ended_at",
        [command, exit_code, at],
    )


def command_runs(store: Store) -> tuple[CommandRun, ...]:
    """List how every recorded command ended last, by name."""
    rows = store.rows("SELECT command, exit_code, ended_at FROM command_run ORDER BY command")
    return tuple(CommandRun(*row) for row in rows)
