"""The journal: what the appliance did, as an append-only, hash-chained list.

Each line is canonical JSON of {id, at, event, details}; its digest covers it and the digest
before it. Append in the transaction that does what the line tells: then neither is there
without the other. Where the journal ends is kept beside it, so that a lost end is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from sqlite3 import Row
from typing import Any, Final

from appliance.store.database import Store
from appliance.store.home.clock import RECORD, raise_floor
from appliance.store.row_form import json_object, reading_row
from appliance.tlog.hash_chain import START, link
from appliance.tlog.merkle import Hash
from appliance.value import frozen

_BATCH: Final = 1000  # rows read at a time


@frozen
class JournalLine:
    """One thing that happened."""

    id: int  # from 1, without gaps
    at: int  # Unix seconds
    event: str  # dotted: transfer.imported
    details: str  # canonical JSON object
    digest: Hash  # of the chain up to and with this line, as stored

    @property
    def text(self) -> bytes:
        """The bytes that the chain is made of, without a line end."""
        return _line(self.id, self.at, self.event, self.details)

    @property
    def facts(self) -> dict[str, Any]:
        """The details, decoded; raises StoreError for a line that is damaged."""
        with reading_row(f"line {self.id} of the journal"):
            return json_object(self.details)


@frozen
class JournalHead:
    """The end of the journal, which speaks for all of it."""

    id: int  # of the last line; 0 if there is none
    digest: Hash  # of the last line; START if there is none


def append_event(store: Store, at: int, event: str, details: Mapping[str, Any]) -> int:
    """Append a line and return its id. Call it inside store.atomic()."""
    last = store.row("SELECT id, digest FROM journal ORDER BY id DESC LIMIT 1")
    number = 1 if last is None else int(last["id"]) + 1
    previous = START if last is None else Hash(last["digest"])
    text = _canonical(details)
    digest = link(previous, _line(number, at, event, text))
    store.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", [number, at, event, text, digest])
    store.execute(
        "INSERT INTO journal_head VALUES (1, ?, ?)"
        " ON CONFLICT DO UPDATE SET id = excluded.id, digest = excluded.digest",
        [number, digest],
    )
    raise_floor(store, RECORD, at, f"journal line {number}")
    return number


def journal_head(store: Store) -> JournalHead:
    """Return where the journal ends, as it was recorded with the last line."""
    row = store.row("SELECT id, digest FROM journal_head")
    return JournalHead(0, START) if row is None else JournalHead(row["id"], Hash(row["digest"]))


def last_lines(store: Store, n: int, event: str | None = None) -> list[JournalLine]:
    """Return the last `n` lines, of one event only if it is given, in order."""
    rows = store.rows(
        "SELECT * FROM journal WHERE event = coalesce(?, event) ORDER BY id DESC LIMIT ?",
        [event, n],
    )
    return [_journal_line(row) for row in reversed(rows)]


def journal_lines(
    store: Store, *, after: int = 0, event: str | None = None
) -> Iterator[JournalLine]:
    """Yield the lines with a higher id than `after`, in order, as they are stored.

    With `event` only those that tell of it.
    """
    while True:
        rows = store.rows(
            "SELECT * FROM journal WHERE id > ? AND event = coalesce(?, event) ORDER BY id LIMIT ?",
            [after, event, _BATCH],
        )
        yield from map(_journal_line, rows)
        if len(rows) < _BATCH:
            return
        after = rows[-1]["id"]


def _journal_line(row: Row) -> JournalLine:
    return JournalLine(row["id"], row["at"], row["event"], row["details"], Hash(row["digest"]))


def _canonical(details: Mapping[str, Any]) -> str:
    # ASCII: a file name that is no UTF-8 stays what it is, and every reader sees the same bytes.
    return json.dumps(details, sort_keys=True, separators=(",", ":"))


def _line(number: int, at: int, event: str, details: str) -> bytes:
    head = f'{{"at":{at},"details":{details},"event":{json.dumps(event)},"id":{number}}}'
    return head.encode()
