"""The ledger of what should be signed, and which entries were found to meet it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from appliance.errors import RefusedError
from appliance.store.database import Store
from appliance.store.failures import unknown
from appliance.store.find.watches import Ranges
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import Log
from appliance.tlog.merkle import Hash
from appliance.value import frozen

OPERATOR: Final = "operator"
QUEUE: Final = "queue"
PUBLISH: Final = "publish"
LOG_ADD: Final = "log-add"
_COMPARED: Final = "compared = 1 AND cancelled_at IS NULL"


@frozen
class Terms:
    """What an entry must be to be the expected one: all of what is given."""

    leaf: Hash | None = None  # the very entry
    digest: bytes | None = None  # of the artifact, or of an attestation's payload
    signer: bytes | None = None  # SHA-256 of the key or certificate
    identity: str | None = None  # exact; with an issuer, always
    pattern: str | None = None  # RE2, whole match; with an issuer, always
    issuer: str | None = None
    origin: str | None = None  # of the log it must be in; None: in any
    count: int = 1  # entries, over all logs
    valid_from: int | None = None  # Unix seconds
    valid_until: int | None = None  # Unix seconds
    note: str = ""

    @property
    def reference(self) -> str:
        """What makes asking for the same again the same, 64 hex digits; without the note."""
        parts: list[str | int | None] = [
            *(one.hex() if one else None for one in (self.leaf, self.digest, self.signer)),
            *(self.identity, self.pattern, self.issuer, self.origin),
            *(self.count, self.valid_from, self.valid_until),
        ]
        return sha256(json.dumps(parts).encode()).hexdigest()


@frozen
class Expectation:
    """One row of the ledger."""

    id: int
    source: str  # operator, queue, publish or log-add
    reference: str  # id of a queue item, number of a publication, …
    site: str | None  # came from there; None: added here
    created_at: int  # Unix seconds; of what it stands for
    terms: Terms
    cancelled_at: int | None  # Unix seconds; None: it holds
    cancel_reason: str | None


@frozen
class Met:
    """An entry that meets an expectation."""

    expectation: int
    log_id: int
    entry_index: int
    leaf: Hash
    found_at: int  # Unix seconds


@frozen
class UndecidedRow:
    """An entry of which it cannot be told whether it meets an expectation."""

    expectation: int
    log_id: int
    entry_index: int
    why: str


@frozen
class Unledgered:
    """A request of ours that is not in the ledger yet."""

    source: str
    number: int  # in the order they came
    reference: str
    created_at: int  # Unix seconds
    kind: str
    api_version: int
    request: bytes


def add_expectation(
    store: Store,
    source: str,
    reference: str,
    terms: Terms,
    at: int,
    site: str | None = None,
) -> tuple[Expectation, bool]:
    """Put a row into the ledger, or find it; returns it and whether it is new.

    Call it inside store.atomic(). What the operator or a site says goes into the journal.
    """
    added = store.execute(
        "INSERT INTO expectation (source, reference, site, created_at, leaf, digest, signer,"
        " identity, pattern, issuer, origin, count, valid_from, valid_until, note)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            *(source, reference, site, at, terms.leaf, terms.digest, terms.signer),
            *(terms.identity, terms.pattern, terms.issuer, terms.origin, terms.count),
            *(terms.valid_from, terms.valid_until, terms.note),
        ],
    )
    [row] = store.rows(
        "SELECT * FROM expectation WHERE source = ? AND reference = ?", [source, reference]
    )
    found = _expectation(row)
    if added.rowcount and source == OPERATOR:
        details = {"id": found.id, "site": site, "reference": reference, "note": terms.note}
        append_event(store, at, "expected.added", details)
    return found, added.rowcount > 0


def cancel_expectation(store: Store, id_: int, reason: str, at: int) -> Expectation:
    """Say that something is not expected any more; raises RefusedError if it was said before.

    Call it inside store.atomic(). Raises IncompleteError if there is no such row.
    """
    found = require_expectation(store, id_)
    if found.cancelled_at is not None:
        raise RefusedError(
            f"expectation {id_} was cancelled before: {found.cancel_reason}",
            reason="wrong-state",
            next_step=f"see 'attestor expected show {id_}'",
        )
    store.execute(
        "UPDATE expectation SET cancelled_at = ?, cancel_reason = ?, unsettled = unsettled + 1"
        " WHERE id = ?",
        [at, reason, id_],
    )
    append_event(store, at, "expected.cancelled", {"id": id_, "reason": reason})
    return require_expectation(store, id_)


def expectations(store: Store) -> tuple[Expectation, ...]:
    """List the ledger, in the order it was filled."""
    return _where(store, "TRUE")


def require_expectation(store: Store, id_: int) -> Expectation:
    """Return a row by its number; raises IncompleteError if there is none."""
    row = store.row("SELECT * FROM expectation WHERE id = ?", [id_])
    if row is None:
        raise unknown("expectation", id_, "expected")
    return _expectation(row)


# --- what meets it


def add_met(store: Store, met: Iterable[Met]) -> int:
    """Keep entries that meet expectations, which are to be judged again; returns how many are new.

    Call it inside store.atomic().
    """
    new = 0
    for one in met:
        row = (one.expectation, one.log_id, one.entry_index, one.leaf, one.found_at)
        added = store.execute(
            "INSERT INTO expectation_entry VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
        ).rowcount
        if added:
            _unsettle(store, one.expectation)
        new += added
    return new


def all_met(store: Store) -> tuple[Met, ...]:
    """List the entries that meet expectations, as their logs have them."""
    return _met(store, "TRUE", [])


def met_by(store: Store, rows: Iterable[Expectation]) -> tuple[Met, ...]:
    """List the entries that meet these rows, as their logs have them."""
    ids = json.dumps([one.id for one in rows])
    return _met(store, "expectation IN (SELECT value FROM json_each(?))", [ids])


def holding_at(store: Store, log_id: int, entry_index: int) -> tuple[Expectation, ...]:
    """List the rows that hold and that an entry was found to meet."""
    return _where(
        store,
        "cancelled_at IS NULL AND id IN (SELECT expectation FROM expectation_entry"
        " WHERE log_id = ? AND entry_index = ?)",
        [log_id, entry_index],
    )


def rows_of_digest(store: Store, digest: bytes) -> tuple[Expectation, ...]:
    """List the rows that hold and that an entry of this digest can meet: by it, or by who signs."""
    return _where(store, "cancelled_at IS NULL AND (digest = ? OR digest IS NULL)", [digest])


def _met(store: Store, where: str, values: Sequence[object]) -> tuple[Met, ...]:
    rows = store.rows(
        f"SELECT * FROM expectation_entry WHERE {where}"  # noqa: S608 ours
        " ORDER BY log_id, entry_index, expectation",
        values,
    )
    return tuple(
        Met(
            *(row["expectation"], row["log_id"], row["entry_index"]),
            *(Hash(row["leaf"]), row["found_at"]),
        )
        for row in rows
    )


def uncompared(store: Store) -> tuple[Expectation, ...]:
    """List the rows that hold and were not compared with what the others were."""
    return _where(store, "compared = 0 AND cancelled_at IS NULL")


def compared(store: Store) -> tuple[Expectation, ...]:
    """List the rows that hold and were compared with all that is recorded."""
    return _where(store, _COMPARED)


def count_compared(store: Store) -> int:
    """Count the rows that hold and were compared."""
    row = store.row(f"SELECT count(*) AS n FROM expectation WHERE {_COMPARED}")  # noqa: S608 ours
    return int(row["n"]) if row else 0


def compared_of_digests(store: Store, digests: Sequence[bytes]) -> tuple[Expectation, ...]:
    """List the rows that hold, were compared, and name one of these digests."""
    listed = ", ".join("?" * len(digests))
    return _where(store, f"digest IN ({listed}) AND {_COMPARED}", digests)


def compared_without_digest(store: Store) -> tuple[Expectation, ...]:
    """List the rows that hold, were compared, and say who signs, whatever it is."""
    return _where(store, f"digest IS NULL AND {_COMPARED}")


def mark_compared(store: Store, rows: Iterable[Expectation]) -> None:
    """Record that rows were compared with all that is recorded. Inside store.atomic()."""
    sql = "UPDATE expectation SET compared = 1 WHERE id = ?"
    store.execute_many(sql, [(one.id,) for one in rows])


def compared_ranges(store: Store, log: Log, trust: str | None) -> Ranges:
    """Return which entries of a log the compared rows were compared with, under this root."""
    rows = store.rows(
        "SELECT start_index, stop_index FROM expectation_scan WHERE log_id = ? AND trust IS ?"
        " ORDER BY start_index",
        [log.id, trust],
    )
    return tuple((row["start_index"], row["stop_index"]) for row in rows)


def set_compared_ranges(store: Store, log: Log, ranges: Ranges, trust: str | None) -> None:
    """Record which entries of a log the compared rows were compared with. Inside atomic()."""
    store.execute("DELETE FROM expectation_scan WHERE log_id = ?", [log.id])
    store.execute_many(
        "INSERT INTO expectation_scan VALUES (?, ?, ?, ?)",
        [(log.id, start, stop, trust) for start, stop in ranges],
    )


def add_undecided(store: Store, found: Iterable[UndecidedRow]) -> None:
    """Keep entries of which it cannot be told whether they meet a row. Inside store.atomic()."""
    for one in found:
        store.execute(
            "INSERT OR REPLACE INTO expectation_undecided VALUES (?, ?, ?, ?)",
            [one.expectation, one.log_id, one.entry_index, one.why],
        )
        _unsettle(store, one.expectation)


def undecided_of(store: Store, expectation: int) -> tuple[UndecidedRow, ...]:
    """List the entries of which it cannot be told whether they meet a row."""
    rows = store.rows(
        "SELECT * FROM expectation_undecided WHERE expectation = ? ORDER BY log_id, entry_index",
        [expectation],
    )
    return tuple(UndecidedRow(*row) for row in rows)


# --- what has to be judged


def unsettled(store: Store) -> tuple[tuple[Expectation, int], ...]:
    """List the rows that have to be judged, and those that share entries with them.

    Each with how often it changed since it was judged: for `settle`.
    """
    rows = store.rows(
        "WITH RECURSIVE touched (id) AS (SELECT id FROM expectation WHERE unsettled > 0"
        " UNION SELECT b.expectation FROM touched"
        " JOIN expectation_entry AS a ON a.expectation = touched.id"
        " JOIN expectation_entry AS b USING (log_id, entry_index))"
        " SELECT * FROM expectation WHERE id IN touched ORDER BY id"
    )
    return tuple((_expectation(row), row["unsettled"]) for row in rows)


def settle(store: Store, row: Expectation, changes: int) -> None:
    """Record that a row was judged after so many changes; what changed since is judged next."""
    store.execute(
        "UPDATE expectation SET unsettled = 0 WHERE id = ? AND unsettled = ?", [row.id, changes]
    )


def _unsettle(store: Store, expectation: int) -> None:
    store.execute("UPDATE expectation SET unsettled = unsettled + 1 WHERE id = ?", [expectation])


def count_open(store: Store, now: int) -> int:
    """Count the rows that hold, are not used up and have time left."""
    row = store.row(
        "SELECT count(*) AS n FROM expectation AS e WHERE cancelled_at IS NULL"
        " AND (valid_until IS NULL OR valid_until >= ?)"
        " AND (SELECT count(*) FROM expectation_entry WHERE expectation = e.id) < count",
        [now],
    )
    return int(row["n"]) if row else 0


# --- what this home asked for itself


def has_ledger(store: Store) -> bool:
    """Whether anything is expected, or will be: what this home queued or published."""
    row = store.row(
        "SELECT EXISTS (SELECT 1 FROM expectation) OR EXISTS (SELECT 1 FROM queue_item)"
        " OR EXISTS (SELECT 1 FROM publication) AS any_row"
    )
    return row is not None and bool(row["any_row"])


def unledgered(store: Store) -> tuple[Unledgered, ...]:
    """List what this home has queued or published since the ledger was filled from it."""
    rows = store.rows(
        "SELECT 'queue' AS source, number, id AS reference, created_at, kind, api_version, request"
        " FROM queue_item WHERE number > coalesce((SELECT number FROM ledger_mark"
        " WHERE source = 'queue'), 0)"
        " UNION ALL SELECT 'publish', number, CAST(number AS TEXT), created_at, 'hashedrekord',"
        " api_version, request FROM publication WHERE number > coalesce((SELECT number"
        " FROM ledger_mark WHERE source = 'publish'), 0) ORDER BY source, number"
    )
    return tuple(
        Unledgered(
            *(row["source"], row["number"], row["reference"], row["created_at"], row["kind"]),
            *(row["api_version"], row["request"]),
        )
        for row in rows
    )


def mark_ledgered(store: Store, one: Unledgered) -> None:
    """Record that the ledger has this request, and all before it. Inside store.atomic()."""
    store.execute("INSERT OR REPLACE INTO ledger_mark VALUES (?, ?)", [one.source, one.number])


def _where(store: Store, where: str, values: Sequence[object] = ()) -> tuple[Expectation, ...]:
    sql = f"SELECT * FROM expectation WHERE {where} ORDER BY id"  # noqa: S608 ours
    return tuple(map(_expectation, store.rows(sql, values)))


def _expectation(row: sqlite3.Row) -> Expectation:
    terms = Terms(
        *(None if row["leaf"] is None else Hash(row["leaf"]), row["digest"], row["signer"]),
        *(row["identity"], row["pattern"], row["issuer"], row["origin"], row["count"]),
        *(row["valid_from"], row["valid_until"], row["note"]),
    )
    return Expectation(
        *(row["id"], row["source"], row["reference"], row["site"], row["created_at"]),
        *(terms, row["cancelled_at"], row["cancel_reason"]),
    )
