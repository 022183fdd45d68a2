"""Proof that a log contradicted itself, durable before anybody is told (DESIGN.md invariant 6).

Both notes byte for byte, and everything else that was known at the time as one JSON object:
the proof between them, how theirs came, the keys that count, what we believed before.
Written once for each pair of notes, never changed, never deleted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from appliance.errors import IncompleteError
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import Log
from appliance.value import frozen


@frozen
class Evidence:
    """One pair of signed notes that cannot both be true."""

    id: int
    origin: str
    rule: str  # RootHashMismatch, TreeFork, TreeSizeRollback, …
    detected_at: int  # Unix seconds
    ours: bytes  # the signed note we hold
    theirs: bytes  # the signed note that contradicts it
    details: dict[str, Any]


def put_evidence(
    store: Store,
    log: Log,
    *,
    rule: str,
    ours: bytes,
    theirs: bytes,
    details: Mapping[str, Any],
    detected_at: int,
) -> tuple[int, bool]:
    """Store two signed notes that contradict each other; return the id and whether it is new.

    The same pair again has the id it has. Call it inside store.atomic().
    """
    inserted = store.execute(
        "INSERT INTO evidence (log_id, rule, detected_at, ours, theirs, details)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [log.id, rule, detected_at, ours, theirs, json.dumps(details, sort_keys=True)],
    )
    row = store.row(
        "SELECT id FROM evidence WHERE log_id = ? AND ours = ? AND theirs = ?",
        [log.id, ours, theirs],
    )
    if row is None:
        raise LookupError("evidence that was just stored is not there")
    is_new = inserted.rowcount > 0
    if is_new:
        facts = {"evidence": row["id"], "origin": log.origin, "rule": rule}
        append_event(store, detected_at, "evidence.kept", facts)
    return int(row["id"]), is_new


def require_evidence(store: Store, evidence_id: int) -> Evidence:
    """Return one piece of evidence; raises IncompleteError if there is none."""
    row = store.row(_SELECT + " WHERE evidence.id = ?", [evidence_id])
    if row is None:
        raise IncompleteError(f"there is no evidence {evidence_id}", reason="unknown-evidence")
    return _evidence(row)


def evidence_of(store: Store, log: Log) -> tuple[Evidence, ...]:
    """List the evidence against a log, oldest first."""
    rows = store.rows(_SELECT + " WHERE log_id = ? ORDER BY evidence.id", [log.id])
    return tuple(map(_evidence, rows))


_SELECT: Final = "SELECT evidence.*, log.origin FROM evidence JOIN log ON log.id = evidence.log_id"


def _evidence(row: sqlite3.Row) -> Evidence:
    return Evidence(
        row["id"],
        row["origin"],
        row["rule"],
        row["detected_at"],
        row["ours"],
        row["theirs"],
        json.loads(row["details"]),
    )
