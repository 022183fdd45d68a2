"""The ledger of what should be signed, and which entries were found to meet it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from appliance.errors import IncompleteError, RefusedError
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.tlog.merkle import Hash
from appliance.value import frozen

OPERATOR: Final = "operator"
QUEUE: Final = "queue"
PUBLISH: Final = "publish"
LOG_ADD: Final = "log-add"


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
class Unledgered:
    """A request of ours that is not in the ledger yet."""

    source: str
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
        "UPDATE expectation SET cancelled_at = ?, cancel_reason = ? WHERE id = ?", [at, reason, id_]
    )
    append_event(store, at, "expected.cancelled", {"id": id_, "reason": reason})
    return require_expectation(store, id_)


def expectations(store: Store) -> tuple[Expectation, ...]:
    """List the ledger, in the order it was filled."""
    return tuple(map(_expectation, store.rows("SELECT * FROM expectation ORDER BY id")))


def require_expectation(store: Store, id_: int) -> Expectation:
    """Return a row by its number; raises IncompleteError if there is none."""
    row = store.row("SELECT * FROM expectation WHERE id = ?", [id_])
    if row is None:
        raise IncompleteError(
            f"there is no expectation {id_}",
            reason="unknown-expectation",
            next_step="see 'attestor expected list'",
        )
    return _expectation(row)


def add_met(store: Store, met: Iterable[Met]) -> None:
    """Keep entries that meet expectations."""
    store.execute_many(
        "INSERT INTO expectation_entry VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(one.expectation, one.log_id, one.entry_index, one.leaf, one.found_at) for one in met],
    )


def all_met(store: Store) -> tuple[Met, ...]:
    """List the entries that meet expectations, as their logs have them."""
    rows = store.rows("SELECT * FROM expectation_entry ORDER BY log_id, entry_index, expectation")
    return tuple(
        Met(
            *(row["expectation"], row["log_id"], row["entry_index"]),
            *(Hash(row["leaf"]), row["found_at"]),
        )
        for row in rows
    )


def has_ledger(store: Store) -> bool:
    """Whether anything is expected, or will be: what this home queued or published."""
    row = store.row(
        "SELECT EXISTS (SELECT 1 FROM expectation) OR EXISTS (SELECT 1 FROM queue_item)"
        " OR EXISTS (SELECT 1 FROM publication) AS any_row"
    )
    return row is not None and bool(row["any_row"])


def unledgered(store: Store) -> tuple[Unledgered, ...]:
    """List what this home has queued or published and the ledger does not have yet."""
    rows = store.rows(
        "SELECT 'queue' AS source, id AS reference, created_at, kind, api_version, request"
        " FROM queue_item WHERE NOT EXISTS (SELECT 1 FROM expectation AS e"
        " WHERE e.source = 'queue' AND e.reference = queue_item.id)"
        " UNION ALL SELECT 'publish', CAST(number AS TEXT), created_at, 'hashedrekord',"
        " api_version, request FROM publication WHERE NOT EXISTS (SELECT 1 FROM expectation AS e"
        " WHERE e.source = 'publish' AND e.reference = CAST(number AS TEXT))"
    )
    return tuple(
        Unledgered(
            *(row["source"], row["reference"], row["created_at"], row["kind"]),
            *(row["api_version"], row["request"]),
        )
        for row in rows
    )


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
