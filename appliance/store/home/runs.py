"""How syncs and commands ended, because a cron job forgets."""

from __future__ import annotations

from typing import Final

from appliance.store.database import Store
from appliance.store.home.clock import RECORD, raise_floor
from appliance.store.mirror.logs import Log
from appliance.store.mirror.sync_times import record_answer
from appliance.value import frozen

MAX_ERROR_CHARACTERS: Final = 500


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
    answered_at: int | None  # when it last offered a valid checkpoint, whatever came then
    covered_at: int | None  # when a sync last left nothing to fetch
    moved_at: int | None  # when a sync last stored tiles, or left nothing to fetch
    error: str | None  # why the last sync failed; None: it did not
    failing_since: int | None  # None: the last sync did not fail


@frozen
class CommandRun:
    """How the scheduled runs of a command ended. Times are Unix seconds."""

    command: str  # without the program's name
    exit_code: int  # of the last
    ended_at: int  # the last
    succeeded_at: int | None  # last; None: never
    failing_since: int | None  # None: the last did not fail


def backend_run(store: Store, backend: str) -> BackendRun | None:
    """Return how the syncs of a backend went; None: there was none."""
    return next((run for run in backend_runs(store) if run.backend == backend), None)


def backend_runs(store: Store) -> tuple[BackendRun, ...]:
    """List how the syncs of every backend went, by name."""
    return tuple(
        BackendRun(*row)
        for row in store.rows(
            "SELECT backend, attempted_at, succeeded_at, confirmed_at, behind_since, behind_count,"
            " failures, answered_at, covered_at, moved_at, error, failing_since"
            " FROM backend_run ORDER BY backend"
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


def record_success(
    store: Store, backend: str, at: int, *, behind: bool, moved: bool = True, covered: bool = True
) -> None:
    """Record that a sync succeeded, and whether what it was offered is older than ours.

    `moved`: it stored something, or there was nothing to fetch; `covered`: nothing is left.
    """
    record_answer(store, backend, at)
    raise_floor(store, RECORD, at, f"the last sync of {backend}")
    store.execute(
        "UPDATE backend_run SET failures = 0, error = NULL, failing_since = NULL,"
        " attempted_at = max(attempted_at, ?2),"
        " succeeded_at = max(coalesce(succeeded_at, 0), ?2),"
        " confirmed_at = iif(?3, confirmed_at, max(coalesce(confirmed_at, 0), ?2)),"
        " behind_since = iif(?3, coalesce(behind_since, ?2), NULL),"
        " behind_count = iif(?3, behind_count + 1, 0),"
        " moved_at = iif(?4 OR ?5, max(coalesce(moved_at, 0), ?2), moved_at),"
        " covered_at = iif(?5, max(coalesce(covered_at, 0), ?2), covered_at)"
        " WHERE backend = ?1",
        [backend, at, behind, moved, covered],
    )


def record_failure(store: Store, backend: str, at: int, error: str) -> None:
    """Record that a sync was tried and did not succeed, and why."""
    store.execute(
        "INSERT INTO backend_run (backend, attempted_at, failures, error, failing_since)"
        " VALUES (?1, ?2, 1, ?3, ?2)"
        " ON CONFLICT DO UPDATE SET attempted_at = max(attempted_at, ?2), failures = failures + 1,"
        " error = ?3, failing_since = coalesce(failing_since, ?2)",
        [backend, at, error[:MAX_ERROR_CHARACTERS]],
    )


def record_command(store: Store, command: str, exit_code: int, at: int) -> None:
    """Record how a scheduled run of a command ended."""
    good = exit_code == 0
    store.execute(
        "INSERT INTO command_run (command, exit_code, ended_at, succeeded_at, failing_since)"
        " VALUES (?1, ?2, ?3, iif(?4, ?3, NULL), iif(?4, NULL, ?3)) ON CONFLICT DO UPDATE SET"
        " exit_code = ?2, ended_at = max(ended_at, ?3),"
        " succeeded_at = iif(?4, max(coalesce(succeeded_at, 0), ?3), succeeded_at),"
        " failing_since = iif(?4, NULL, coalesce(failing_since, ?3))",
        [command, exit_code, at, good],
    )


def command_runs(store: Store) -> tuple[CommandRun, ...]:
    """List how the scheduled runs of every command ended, by name."""
    rows = store.rows(
        "SELECT command, exit_code, ended_at, succeeded_at, failing_since FROM command_run"
        " ORDER BY command"
    )
    return tuple(CommandRun(*row) for row in rows)
