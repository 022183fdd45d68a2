"""The journal: what the appliance did, as an append-only, hash-chained list (SPEC.md 12).

Each line is canonical JSON of {id, at, event, details}; its digest covers it and the digest
before it. Append in the transaction that does what the line tells: then neither is there
without the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from appliance.store.database import Store
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


def append_event(store: Store, at: int, event: str, details: Mapping[str, Any]) -> int:
    """Append a line and return its id. Call it inside store.atomic()."""
    last = store.row("SELECT id, digest FROM journal ORDER BY id DESC LIMIT 1")
    number = 1 if last is None else int(last["id"]) + 1
    previous = START if last is None else Hash(last["digest"])
    text = _canonical(details)
    store.execute(
        "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
        [number, at, event, text, link(previous, _line(number, at, event, text))],
    )
    return number


def journal_lines(store: Store, *, after: int = 0) -> Iterator[JournalLine]:
    """Yield the lines with a higher id than `after`, in order, as they are stored."""
    while True:
        rows = store.rows("SELECT * FROM journal WHERE id > ? ORDER BY id LIMIT ?", [after, _BATCH])
        for row in rows:
            yield JournalLine(
                row["id"], row["at"], row["event"], row["details"], Hash(row["digest"])
            )
        if len(rows) < _BATCH:
            return
        after = rows[-1]["id"]


def _canonical(details: Mapping[str, Any]) -> str:
    # ASCII: a file name that is no UTF-8 stays what it is, and every reader sees the same bytes.
    return json.dumps(details, sort_keys=True, separators=(",", ":"))


def _line(number: int, at: int, event: str, details: str) -> bytes:
    head = f'{{"at":{at},"details":{details},"event":{json.dumps(event)},"id":{number}}}'
    return head.encode()
