"""Which logs are not believed beyond a size, since when and why (docs/divergence.md).

A log is quarantined once: every further contradiction can only lower the size up to which
its stories agree. What rests on no more than that stays good.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from appliance.store.database import Store
from appliance.store.failures import unknown
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import Log
from appliance.value import frozen


@frozen
class Quarantine:
    """One log that contradicted itself, from the last size that all its stories share."""

    id: int
    origin: str
    last_common_size: int  # leaves; older proofs stay good
    alert_number: int  # that began it
    since: int  # Unix seconds
    lifted_at: int | None  # Unix seconds; None: it holds
    lift_reason: str | None


def quarantine_of(store: Store, log: Log) -> Quarantine | None:
    """Return the quarantine that holds for a log, if there is one."""
    row = store.row(_SELECT + " WHERE log_id = ? AND lifted_at IS NULL", [log.id])
    return None if row is None else _quarantine(row)


def quarantines(store: Store, *, lifted: bool = False) -> tuple[Quarantine, ...]:
    """List the quarantines that hold, or with `lifted` all there ever were, oldest first."""
    rows = store.rows(_SELECT + " WHERE ? OR lifted_at IS NULL ORDER BY quarantine.id", [lifted])
    return tuple(map(_quarantine, rows))


def require_quarantine(store: Store, quarantine_id: int) -> Quarantine:
    """Return a quarantine; raises IncompleteError if there never was one of this id."""
    row = store.row(_SELECT + " WHERE quarantine.id = ?", [quarantine_id])
    if row is None:
        raise unknown("quarantine", quarantine_id, "quarantine")
    return _quarantine(row)


def begin_quarantine(store: Store, log: Log, evidence_id: int, alert_number: int, at: int) -> None:
    """Believe a log no further than its stories in a piece of evidence agree, or any other does.

    Call it inside store.atomic().
    """
    if quarantine_of(store, log) is None:
        store.execute(
            "INSERT INTO quarantine (log_id, last_common_size, alert_number, since)"
            " VALUES (?, 0, ?, ?)",
            [log.id, alert_number, at],
        )
        append_event(store, at, "quarantine.begun", {"origin": log.origin, "alert": alert_number})
    store.execute(
        "INSERT INTO quarantine_evidence SELECT id, ? FROM quarantine"
        " WHERE log_id = ? AND lifted_at IS NULL ON CONFLICT DO NOTHING",
        [evidence_id, log.id],
    )
    _settle(store, log)


def record_shared(store: Store, log: Log, evidence_id: int, shared_size: int) -> None:
    """Record how many leaves the stories in a piece of evidence were seen to share.

    That can only become more, as more tiles are compared. Call it inside store.atomic().
    """
    store.execute(
        "UPDATE evidence SET shared_size = max(coalesce(shared_size, 0), ?) WHERE id = ?",
        [shared_size, evidence_id],
    )
    _settle(store, log)


def _settle(store: Store, log: Log) -> None:
    store.execute(
        "UPDATE quarantine SET last_common_size = (SELECT min(coalesce(shared_size, 0))"
        " FROM evidence JOIN quarantine_evidence ON evidence_id = evidence.id"
        " WHERE quarantine_id = quarantine.id) WHERE log_id = ? AND lifted_at IS NULL",
        [log.id],
    )


def lift_quarantine(store: Store, one: Quarantine, at: int, reason: str) -> None:
    """Believe a log again, because `reason`. Call it inside store.atomic()."""
    store.execute(
        "UPDATE quarantine SET lifted_at = ?, lift_reason = ? WHERE id = ? AND lifted_at IS NULL",
        [at, reason, one.id],
    )
    facts = {"quarantine": one.id, "origin": one.origin, "reason": reason}
    append_event(store, at, "quarantine.lifted", facts)


_SELECT: Final = (
    "SELECT quarantine.*, log.origin FROM quarantine JOIN log ON log.id = quarantine.log_id"
)


def _quarantine(row: sqlite3.Row) -> Quarantine:
    return Quarantine(
        row["id"],
        row["origin"],
        row["last_common_size"],
        row["alert_number"],
        row["since"],
        row["lifted_at"],
        row["lift_reason"],
    )
