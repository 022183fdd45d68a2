"""Proof that a log contradicted itself, durable before anybody is told (DESIGN.md invariant 6).

Both notes byte for byte, and everything else that was known at the time as one JSON object:
the proof between them, how theirs came, the keys that count, what we believed before.
Written once for each contradiction, never changed, never deleted. There is room for MAX_PIECES
and MAX_BYTES in all; then nothing more is taken of a log that has some.
"""

from __future__ import annotations

import enum
import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from appliance.errors import IncompleteError
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import Log
from appliance.store.row_form import json_object, reading_row
from appliance.tlog.checkpoint import parse_checkpoint
from appliance.tlog.merkle import TreeHead
from appliance.tlog.note import parse_note
from appliance.value import frozen

MAX_PIECES: Final = 1000
MAX_BYTES: Final = 64 * 1024 * 1024  # of notes and details


class Kept(enum.Enum):
    """What became of a contradiction."""

    NEW = "kept"
    KNOWN = "known"  # the same two statements are there already
    FULL = "full"  # there is no room; other evidence says what this log is


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
) -> tuple[int, Kept]:
    """Store two signed notes that contradict each other; return the id, and how it is kept.

    Two notes that state the same two tree heads again have the id they have, whatever is
    written beneath them. Call it inside store.atomic().
    """
    newest = None
    for row in store.rows(
        "SELECT id, rule, ours, theirs FROM evidence WHERE log_id = ? ORDER BY id", [log.id]
    ):
        newest = int(row["id"])
        if row["rule"] == rule and all(
            _statement(row[name]) == _statement(note)
            for name, note in (("theirs", theirs), ("ours", ours))
        ):
            return newest, Kept.KNOWN
    text = json.dumps(details, sort_keys=True)
    held = store.rows(
        "SELECT count(*) AS n, coalesce(sum(length(ours) + length(theirs) + length(details)), 0)"
        " AS bytes FROM evidence"
    )[0]
    n_bytes = held["bytes"] + len(ours) + len(theirs) + len(text)
    if newest is not None and (held["n"] >= MAX_PIECES or n_bytes > MAX_BYTES):
        return newest, Kept.FULL
    inserted = store.execute(
        "INSERT INTO evidence (log_id, rule, detected_at, ours, theirs, details)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [log.id, rule, detected_at, ours, theirs, text],
    )
    evidence_id = int(inserted.lastrowid or 0)
    facts = {"evidence": evidence_id, "origin": log.origin, "rule": rule}
    append_event(store, detected_at, "evidence.kept", facts)
    return evidence_id, Kept.NEW


def _statement(note: bytes) -> tuple[str, TreeHead]:
    """Return whose tree a note is about, and what it says of it."""
    checkpoint = parse_checkpoint(parse_note(note).text)
    return checkpoint.origin, checkpoint.head


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
    with reading_row(f"evidence {row['id']}"):
        details = json_object(row["details"])
    return Evidence(
        row["id"],
        row["origin"],
        row["rule"],
        row["detected_at"],
        row["ours"],
        row["theirs"],
        details,
    )
