"""Digests that are published: their exact requests, and what became of them."""

from __future__ import annotations

import sqlite3
from typing import Final

from appliance.store.database import Store
from appliance.store.outbox import Outbox
from appliance.tlog.merkle import Hash
from appliance.value import frozen

WAITING: Final = "waiting"
LOGGED: Final = "logged"
REFUSED: Final = "refused"
PUBLISHED: Final = "transparency.checkpoint"  # the journal's event
PUBLICATIONS: Final = Outbox(
    table="publication",
    key=("number",),
    waiting="state = 'waiting'",
    claimed="state = 'waiting'",  # two runs may post the same bytes: the log tells them apart
)


@frozen
class Publication:
    """One digest, and how far it got."""

    number: int
    digest: Hash
    journal_line: int | None  # None: the digest was given
    log_id: int
    api_version: int
    request: bytes  # byte for byte what is posted
    created_at: int  # Unix seconds
    tried_at: int | None  # Unix seconds, last
    attempts: int
    state: str  # waiting, logged or refused
    message: str  # why it is not logged


def add_publication(
    store: Store,
    digest: Hash,
    journal_line: int | None,
    log_id: int,
    api_version: int,
    request: bytes,
    now: int,
) -> Publication:
    """Keep what is to be published."""
    added = store.execute(
        "INSERT INTO publication (digest, journal_line, log_id, api_version, request, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [digest, journal_line, log_id, api_version, request, now],
    )
    return _publication(
        store.rows("SELECT * FROM publication WHERE number = ?", [added.lastrowid])[0]
    )


def waiting_publications(store: Store, log_id: int) -> list[Publication]:
    """List what a log has not taken yet, the oldest first."""
    rows = store.rows(
        "SELECT * FROM publication WHERE state = 'waiting' AND log_id = ? ORDER BY number",
        [log_id],
    )
    return [_publication(row) for row in rows]


def last_journal_publication(store: Store) -> Publication | None:
    """Return the newest publication of the journal, whatever became of it."""
    row = store.row(
        "SELECT * FROM publication WHERE journal_line IS NOT NULL ORDER BY number DESC LIMIT 1"
    )
    return None if row is None else _publication(row)


def begin_publication(store: Store, number: int, now: int) -> None:
    """Record that it is about to be posted."""
    PUBLICATIONS.claim(store, [(number,)], tried_at=now)


def fail_publication(store: Store, number: int, state: str, message: str) -> None:
    """Record why it was not logged; `state` is waiting or refused."""
    PUBLICATIONS.settle(store, number, state=state, message=message)


def finish_publication(store: Store, number: int, log_index: int, entry: bytes) -> bool:
    """Keep the verified proof; False if another run was first. Call it inside store.atomic()."""
    proven = {"log_index": log_index, "entry": entry}
    return PUBLICATIONS.settle(store, number, state=LOGGED, message="", **proven)


def _publication(row: sqlite3.Row) -> Publication:
    return Publication(
        *(row["number"], Hash(row["digest"]), row["journal_line"], row["log_id"]),
        *(row["api_version"], row["request"], row["created_at"], row["tried_at"]),
        *(row["attempts"], row["state"], row["message"]),
    )
