"""Alerts: what was found, since when, how often, and who still has to be told.

One row for each condition as long as it lasts. Its outbox rows are written in the same
transaction: neither is there without the other. What is said and to whom is the caller's.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from appliance.store.database import Store
from appliance.store.failures import unknown
from appliance.store.home.journal import append_event
from appliance.store.home.settings import SITE_NAME, site_fact
from appliance.store.mirror.logs import Log
from appliance.store.row_form import json_object, reading_row
from appliance.value import frozen

ID_DIGITS: Final = 32


@frozen
class NewAlert:
    """What is to be stored of a condition."""

    condition: str  # what makes two findings the same one
    type: str  # the metric's label: RootHashMismatch, …
    event_type: str
    severity: str  # critical, warning or info
    payload: Mapping[str, Any]  # without its id
    log: Log | None = None  # None: not about a log
    evidence_id: int | None = None


@frozen
class Alert:
    """One stored alert."""

    number: int  # for people
    id: str  # for machines: 32 hex digits, the idempotency id of its deliveries
    condition: str
    type: str
    event_type: str
    severity: str
    origin: str | None  # None: not about a log
    evidence_id: int | None
    detected_at: int  # Unix seconds, first
    last_seen_at: int  # Unix seconds
    count: int  # times found
    payload: dict[str, Any]  # exactly what is delivered
    ended_at: int | None  # Unix seconds; None: it still lasts
    acked_at: int | None  # Unix seconds; None: nobody has seen it
    ack_note: str | None


def raise_alert(store: Store, new: NewAlert, sinks: Sequence[str], at: int) -> tuple[int, bool]:
    """Store an alert for delivery to `sinks`, or count it if its condition lasts already.

    Returns its number and whether it is new. Call it inside store.atomic().
    """
    lasting = store.row(
        "SELECT number FROM alert WHERE condition = ? AND ended_at IS NULL", [new.condition]
    )
    if lasting is not None:
        store.execute(
            "UPDATE alert SET count = count + 1, last_seen_at = max(last_seen_at, ?),"
            " evidence_id = coalesce(evidence_id, ?) WHERE number = ?",
            [at, new.evidence_id, lasting["number"]],
        )
        return int(lasting["number"]), False
    row = store.row("SELECT coalesce(max(number), 0) + 1 AS next FROM alert")
    number = int(row["next"]) if row else 1
    alert_id = _id(store, number, new.condition, at)
    store.execute(
        "INSERT INTO alert (number, id, condition, type, event_type, severity, log_id,"
        " evidence_id, detected_at, last_seen_at, payload)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            number,
            alert_id,
            new.condition,
            new.type,
            new.event_type,
            new.severity,
            new.log.id if new.log else None,
            new.evidence_id,
            at,
            at,
            json.dumps({"id": alert_id, **new.payload}, ensure_ascii=False),
        ],
    )
    store.execute_many(
        "INSERT INTO delivery (alert_number, sink, next_at) VALUES (?, ?, ?)",
        [(number, sink, at) for sink in dict.fromkeys(sinks)],
    )
    details = {"number": number, "id": alert_id, "type": new.type, "severity": new.severity}
    append_event(store, at, "alert.raised", details | {"condition": new.condition})
    return number, True


def end_alert(store: Store, condition: str, at: int) -> int | None:
    """Say that a condition is over; its number, or None if it did not last.

    The same condition later is a new alert. Call it inside store.atomic().
    """
    row = store.row(
        "SELECT number, id FROM alert WHERE condition = ? AND ended_at IS NULL", [condition]
    )
    if row is None:
        return None
    store.execute("UPDATE alert SET ended_at = ? WHERE number = ?", [at, row["number"]])
    append_event(store, at, "alert.ended", {"number": row["number"], "id": row["id"]})
    return int(row["number"])


def ack_alert(store: Store, alert: Alert, at: int, note: str | None) -> bool:
    """Record that somebody has seen an alert; whether that is new.

    Call it inside store.atomic().
    """
    if alert.acked_at is not None:
        return False
    store.execute(
        "UPDATE alert SET acked_at = ?, ack_note = ? WHERE number = ?", [at, note, alert.number]
    )
    details = {"number": alert.number, "id": alert.id, "note": note}
    append_event(store, at, "alert.acked", details)
    return True


def forget_alerts(store: Store, before: int, at: int) -> int:
    """Forget alerts that were over `before` (Unix seconds), and their deliveries; how many.

    What is evidence stays, and what a quarantine or a match of a watch refers to; so do the
    alerts that still wait for a sink, critical ones that nobody has acknowledged, and the newest,
    after which the next one is numbered. Call it inside store.atomic().
    """
    rows = store.rows(
        "SELECT number FROM alert WHERE ended_at < ? AND evidence_id IS NULL"
        " AND (severity <> 'critical' OR acked_at IS NOT NULL)"
        " AND number < (SELECT max(number) FROM alert)"
        " AND number NOT IN (SELECT alert_number FROM quarantine UNION ALL"
        " SELECT alert_number FROM watch_match WHERE alert_number IS NOT NULL UNION ALL"
        " SELECT alert_number FROM watch_undecided WHERE alert_number IS NOT NULL UNION ALL"
        " SELECT alert_number FROM delivery WHERE delivered_at IS NULL)",
        [before],
    )
    numbers = [(row["number"],) for row in rows]
    if numbers:
        store.execute_many("DELETE FROM delivery WHERE alert_number = ?", numbers)
        store.execute_many("DELETE FROM alert WHERE number = ?", numbers)
        append_event(store, at, "alert.pruned", {"count": len(numbers), "before": before})
    return len(numbers)


def alerts(store: Store, *, unacked: bool = False, lasting: bool = False) -> tuple[Alert, ...]:
    """List alerts in the order they were raised: all, or only those not seen or not over."""
    rows = store.rows(
        _SELECT + " WHERE (NOT ? OR acked_at IS NULL) AND (NOT ? OR ended_at IS NULL)"
        " ORDER BY number",
        [unacked, lasting],
    )
    return tuple(map(_alert, rows))


def lasting_alerts_of(store: Store, log: Log) -> tuple[Alert, ...]:
    """List the alerts about a log that are not over."""
    rows = store.rows(_SELECT + " WHERE log_id = ? AND ended_at IS NULL ORDER BY number", [log.id])
    return tuple(map(_alert, rows))


def lasting_alert(store: Store, condition: str) -> Alert | None:
    """Return the alert for a condition that is not over, if there is one."""
    row = store.row(_SELECT + " WHERE condition = ? AND ended_at IS NULL", [condition])
    return None if row is None else _alert(row)


def require_alert(store: Store, which: str) -> Alert:
    """Return an alert by its number or its id; raises IncompleteError if there is none."""
    where = " WHERE alert.id = ?"
    if which.isascii() and which.isdecimal() and len(which) < ID_DIGITS:
        where = " WHERE CAST(number AS TEXT) = ?"
    row = store.row(_SELECT + where, [which])
    if row is None:
        raise unknown("alert", which, "alerts")
    return _alert(row)


def _id(store: Store, number: int, condition: str, at: int) -> str:
    """Make an id that no other alert of any site has, the same however often we die here."""
    parts = (site_fact(store, SITE_NAME) or "", str(number), condition, str(at))
    return sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:ID_DIGITS]


_SELECT: Final = "SELECT alert.*, log.origin FROM alert LEFT JOIN log ON log.id = alert.log_id"


def _alert(row: sqlite3.Row) -> Alert:
    with reading_row(f"alert {row['number']}"):
        payload = json_object(row["payload"])
    return Alert(
        row["number"],
        row["id"],
        row["condition"],
        row["type"],
        row["event_type"],
        row["severity"],
        row["origin"],
        row["evidence_id"],
        row["detected_at"],
        row["last_seen_at"],
        row["count"],
        payload,
        row["ended_at"],
        row["acked_at"],
        row["ack_note"],
    )
