"""The submission queue: what is to be logged, and what became of it (docs/queue.md).

    queued | postponed ─> sending ─> logged | postponed | refused | queued
    queued | postponed ─> exported ─> proven-inside
    queued | postponed | exported | refused ─> cancelled
    queued ─> aggregated ─> logged            once the root that stands for it is logged

The exact bytes of a request are stored before anybody sends them, and never change. What
is refused is parked: nobody can prove a no, so the operator says whether it is tried again
or cancelled, and a proof that comes after all counts. An item leaves a final state only by
an operator's word (retry, of what was cancelled) or by a proof.
Each change names the states it may start from, in its own statement.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from appliance.errors import IncompleteError, RefusedError
from appliance.store.database import Store
from appliance.value import frozen

QUEUED: Final = "queued"
SENDING: Final = "sending"
POSTPONED: Final = "postponed"
EXPORTED: Final = "exported"
AGGREGATED: Final = "aggregated"
LOGGED: Final = "logged"
REFUSED: Final = "refused"
CANCELLED: Final = "cancelled"
PROVEN_INSIDE: Final = "proven-inside"

WAITING: Final = (QUEUED, POSTPONED)  # to be sent
HELD: Final = (QUEUED, SENDING, POSTPONED)  # what fills the queue
FINAL: Final = (LOGGED, CANCELLED, PROVEN_INSIDE)
STATES: Final = (QUEUED, SENDING, POSTPONED, EXPORTED, AGGREGATED, REFUSED, *FINAL)
WITHDRAWN: Final = "withdrawn"  # the reason of what was cancelled after it had left for a site
MIN_ID_DIGITS: Final = 6
MAX_PAUSE_SECONDS: Final = 2 * 86_400  # nothing is postponed for longer


@frozen
class NewItem:
    """What is put into the queue; everything in it is verified."""

    tenant: str
    tier: str  # graph or edge
    edge_trigger: str | None  # cvss, policy-gate or escalation; None for graph
    priority: int  # higher first
    kind: str  # of the request: hashedrekord or dsse
    api_version: int  # of the Rekor it is made for
    request: bytes  # byte for byte what is posted
    unfinished: bytes | None = None  # Sigstore bundle that lacks the log entry
    stamp: bytes | None = None  # RFC 3161 response
    site: str | None = None  # it came from there
    site_id: str | None = None  # its id there

    @property
    def id(self) -> str:
        """What makes adding the same thing twice the same thing."""
        return item_id(self.tenant, self.request)


@frozen
class QueueItem:
    """One item of the queue, as it is stored."""

    number: int  # order of arrival
    id: str  # 64 hex digits
    what: NewItem
    state: str
    created_at: int  # Unix seconds
    changed_at: int
    next_at: int  # not sent before
    attempts: int
    reason: str  # why it is not logged, one word; empty: nothing went wrong
    message: str


def item_id(tenant: str, request: bytes) -> str:
    """Return the id of a request of a tenant, 64 hex digits."""
    return sha256(tenant.encode() + b"\n" + request).hexdigest()


def insert_item(store: Store, new: NewItem, now: int) -> QueueItem:
    """Put an item at the queue's end. Call it inside store.atomic()."""
    store.execute(
        "INSERT INTO queue_item (id, tenant, tier, edge_trigger, priority, kind, api_version,"
        " request, unfinished, stamp, site, site_id, state, created_at, changed_at, next_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?)",
        [
            *(new.id, new.tenant, new.tier, new.edge_trigger, new.priority, new.kind),
            *(new.api_version, new.request, new.unfinished, new.stamp, new.site, new.site_id),
            *(now, now, now),
        ],
    )
    return require_item(store, new.id)


def is_anything_waiting(store: Store, api_version: int) -> bool:
    """Whether an item waits to be sent to a log of this API version."""
    row = store.row(
        f"SELECT 1 FROM queue_item WHERE state IN ('{QUEUED}', '{POSTPONED}') AND api_version = ?",  # noqa: S608 ours
        [api_version],
    )
    return row is not None


def unsent_count(store: Store, api_version: int) -> int:
    """Count the items that wait to be sent to a log of this API version, or are being sent."""
    row = store.row(
        "SELECT count(*) AS n FROM queue_item"  # noqa: S608 ours
        f" WHERE state IN ('{QUEUED}', '{POSTPONED}', '{SENDING}') AND api_version = ?",
        [api_version],
    )
    return int(row["n"]) if row else 0


def find_item(store: Store, id_: str) -> QueueItem | None:
    """Return the item with this whole id, if there is one."""
    row = store.row("SELECT * FROM queue_item WHERE id = ?", [id_])
    return None if row is None else _item(row)


def item_by_number(store: Store, number: int) -> QueueItem:
    """Return the item of a number that a row of ours names."""
    return _item(store.rows("SELECT * FROM queue_item WHERE number = ?", [number])[0])


def require_item(store: Store, text: str) -> QueueItem:
    """Return the item whose id begins with `text`.

    Raises IncompleteError if there is none or more than one, or `text` is too short.
    """
    rows = store.rows(
        "SELECT * FROM queue_item WHERE substr(id, 1, ?) = ? LIMIT 2", [len(text), text]
    )
    if len(rows) == 1 and len(text) >= MIN_ID_DIGITS:
        return _item(rows[0])
    raise IncompleteError(
        f"no item {text[:80]!r} in the queue"
        if not rows
        else f"item {text!r}: give at least {MIN_ID_DIGITS} digits, and as many as make it one",
        reason="unknown-item" if not rows else "ambiguous-item",
        next_step="see 'attestor queue list --all'",
    )


def list_items(
    store: Store, states: Sequence[str], *, tenant: str | None = None, limit: int = -1
) -> list[QueueItem]:
    """List items in any of these states, in the order of arrival."""
    marks = ", ".join("?" for _ in states)
    rows = store.rows(
        f"SELECT * FROM queue_item WHERE state IN ({marks})"  # noqa: S608 marks
        " AND (? IS NULL OR tenant = ?) ORDER BY number LIMIT ?",
        [*states, tenant, tenant, limit],
    )
    return [_item(row) for row in rows]


def due_items(
    store: Store, tenant: str, tier: str, api_version: int, now: int, limit: int
) -> list[QueueItem]:
    """List what a tenant may have sent now, in its order: priority, then arrival.

    What is postponed for longer than any pause lasts is due as well: a clock was set back.
    """
    found: list[QueueItem] = []
    for state in WAITING:  # one after the other: so the index gives the order
        rows = store.rows(
            "SELECT * FROM queue_item WHERE state = ? AND tenant = ? AND tier = ?"
            " AND api_version = ? AND (next_at <= ? OR next_at > ?)"
            " ORDER BY priority DESC, number LIMIT ?",
            [state, tenant, tier, api_version, now, now + MAX_PAUSE_SECONDS, limit],
        )
        found += map(_item, rows)
    return sorted(found, key=lambda one: (-one.what.priority, one.number))[:limit]


def other_version_count(store: Store, api_version: int) -> int:
    """Count what waits for a log of another API version."""
    row = store.row(
        "SELECT count(*) AS n FROM queue_item WHERE state IN ('queued', 'postponed')"
        " AND api_version <> ?",
        [api_version],
    )
    return 0 if row is None else int(row["n"])


def count_states(store: Store) -> dict[tuple[str, str], int]:
    """Count the items by state and tier."""
    rows = store.rows("SELECT state, tier, count(*) AS n FROM queue_item GROUP BY state, tier")
    return {(row["state"], row["tier"]): row["n"] for row in rows}


def held_count(store: Store) -> int:
    """Count what fills the queue."""
    row = store.row(
        "SELECT count(*) AS n FROM queue_item WHERE state IN ('queued', 'sending', 'postponed')"
    )
    return 0 if row is None else int(row["n"])


def tenant_held_count(store: Store, tenant: str) -> int:
    """Count what a tenant has in the queue."""
    row = store.row(
        "SELECT count(*) AS n FROM queue_item WHERE state IN ('queued', 'sending', 'postponed')"
        " AND tenant = ?",
        [tenant],
    )
    return 0 if row is None else int(row["n"])


def oldest_held(store: Store) -> int | None:
    """Return when the oldest item that fills the queue was added, Unix seconds; None: none."""
    row = store.row(
        "SELECT min(created_at) AS at FROM queue_item"
        " WHERE state IN ('queued', 'sending', 'postponed')"
    )
    return None if row is None else row["at"]


def waiting_count(store: Store, tenant: str, tier: str) -> int:
    """Count what a tenant has still to be sent of one tier."""
    row = store.row(
        "SELECT count(*) AS n FROM queue_item WHERE state IN ('queued', 'sending', 'postponed')"
        " AND tenant = ? AND tier = ?",
        [tenant, tier],
    )
    return 0 if row is None else int(row["n"])


def ahead_count(store: Store, item: QueueItem) -> int:
    """Count the items that its tenant will have sent before this one."""
    row = store.row(
        "SELECT count(*) AS n FROM queue_item WHERE state IN ('queued', 'sending', 'postponed')"
        " AND tenant = ? AND tier = ? AND (priority > ? OR (priority = ? AND number < ?))",
        [item.what.tenant, item.what.tier, item.what.priority, item.what.priority, item.number],
    )
    return 0 if row is None else int(row["n"])


def find_site_item(store: Store, site: str, site_id: str) -> QueueItem | None:
    """Return the item that a site calls by this id, if it is here."""
    row = store.row("SELECT * FROM queue_item WHERE site = ? AND site_id = ?", [site, site_id])
    return None if row is None else _item(row)


def items_to_return(store: Store, site: str | None) -> list[QueueItem]:
    """List other sites' items, or one's, whose end they have not been told."""
    rows = store.rows(
        "SELECT * FROM queue_item WHERE site IS NOT NULL AND (? IS NULL OR site = ?)"
        " AND state IN ('logged', 'refused', 'cancelled') AND returned_at IS NULL ORDER BY number",
        [site, site],
    )
    return [_item(row) for row in rows]


def withdrawn_items(store: Store) -> list[QueueItem]:
    """List our items that were cancelled after they had left for another site."""
    rows = store.rows(
        "SELECT * FROM queue_item WHERE state = 'cancelled' AND reason = ? AND site IS NULL"
        " ORDER BY number",
        [WITHDRAWN],
    )
    return [_item(row) for row in rows]


def set_returned(store: Store, numbers: Sequence[int], now: int | None) -> None:
    """Say that their site was told the end of these items; None: tell it again."""
    store.execute_many(
        "UPDATE queue_item SET returned_at = ? WHERE number = ?",
        [(now, number) for number in numbers],
    )


def move_item(
    store: Store,
    item: QueueItem,
    state: str,
    *,
    allowed: Sequence[str],
    now: int,
    reason: str = "",
    message: str = "",
) -> None:
    """Change an item's state; raises RefusedError unless it is in one of `allowed`."""
    marks = ", ".join("?" for _ in allowed)
    moved = store.execute(
        "UPDATE queue_item SET state = ?, changed_at = ?, next_at = ?, reason = ?, message = ?"  # noqa: S608 marks
        f" WHERE number = ? AND state IN ({marks})",
        [state, now, now, reason, message, item.number, *allowed],
    )
    if moved.rowcount == 0:
        present = require_item(store, item.id).state
        raise RefusedError(
            f"item {item.id[:12]} is {present}, expected {' or '.join(allowed)}",
            reason="wrong-state",
            next_step=f"see 'attestor queue show {item.id[:12]}'",
        )


def _item(row: sqlite3.Row) -> QueueItem:
    what = NewItem(
        *(row["tenant"], row["tier"], row["edge_trigger"], row["priority"], row["kind"]),
        *(row["api_version"], row["request"], row["unfinished"], row["stamp"]),
        *(row["site"], row["site_id"]),
    )
    return QueueItem(
        *(row["number"], row["id"], what, row["state"], row["created_at"], row["changed_at"]),
        *(row["next_at"], row["attempts"], row["reason"], row["message"]),
    )
