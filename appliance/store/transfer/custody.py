"""Custody: who had which medium when, as an append-only, hash-chained list.

It is what people say, kept so that nothing can be taken back or put in between unseen. The
journal has each line's digest as well, so that a list that was cut short or emptied is seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.tlog.hash_chain import START, link
from appliance.tlog.merkle import Hash
from appliance.value import field_names, frozen

CUSTODY_ADDED: Final = "custody.added"  # in the journal


@frozen
class CustodyFacts:
    """What somebody says about a medium. An empty text: not said."""

    action: str  # exported, sealed, handed-over, received, imported, …
    who: str
    bundle_id: str = ""  # of a transfer bundle, 64 hex digits
    medium: str = ""
    seal: str = ""
    ticket: str = ""
    remark: str = ""


@frozen
class CustodyLine:
    """One line of the list."""

    id: int  # from 1, without gaps
    at: int  # Unix seconds
    facts: CustodyFacts
    digest: Hash  # of the chain up to and with this line, as stored

    @property
    def text(self) -> bytes:
        """The bytes that the chain is made of: canonical JSON, without a line end."""
        facts = {name: getattr(self.facts, name) for name in field_names(CustodyFacts)}
        line = {"id": self.id, "at": self.at, **facts}
        return json.dumps(line, sort_keys=True, separators=(",", ":")).encode()


def append_custody(store: Store, facts: CustodyFacts, at: int) -> CustodyLine:
    """Append a line and return it. Call it inside store.atomic()."""
    last = store.row("SELECT id, digest FROM custody ORDER BY id DESC LIMIT 1")
    number = 1 if last is None else int(last["id"]) + 1
    previous = START if last is None else Hash(last["digest"])
    text = CustodyLine(number, at, facts, START).text
    line = CustodyLine(number, at, facts, link(previous, text))
    values = [getattr(facts, name) for name in field_names(CustodyFacts)]
    store.execute(
        "INSERT INTO custody VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [number, at, *values, line.digest],
    )
    head = {"id": number, "action": facts.action, "digest": line.digest.hex()}
    append_event(store, at, CUSTODY_ADDED, head)
    return line


def custody_lines(store: Store) -> Iterator[CustodyLine]:
    """Yield every line in order, as stored."""
    for row in store.rows("SELECT * FROM custody ORDER BY id"):
        facts = CustodyFacts(*(row[name] for name in field_names(CustodyFacts)))
        yield CustodyLine(row["id"], row["at"], facts, Hash(row["digest"]))
