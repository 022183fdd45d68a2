"""Attempts to send, their cost in the budget, and their ends: the durable steps of a drain.

    begin_attempts   item sending, attempt and spend written: durable before a byte leaves
    end_attempt, settle_spend, put_receipt, leave_sending
                     what came of it, in one transaction with the item's new state

If we die between the two, the item is still sending and its spend still counts;
take_back_interrupted lets the next drain send the same bytes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.store.database import Store
from appliance.store.outbox import Outbox
from appliance.store.queue.queue import SENDING, QueueItem
from appliance.value import frozen

INTERRUPTED: Final = "interrupted"
ITEMS: Final = Outbox(
    table="queue_item",
    key=("number",),
    waiting="state IN ('queued', 'postponed')",
    claimed="state = 'sending'",
)


@frozen
class Attempt:
    """One time an item was sent."""

    attempt: int  # from 1
    started_at: int  # Unix seconds
    ended_at: int | None  # None: under way, or we died
    url: str
    outcome: str  # logged, duplicate, or why not
    message: str


def attempts_of(store: Store, item: QueueItem) -> list[Attempt]:
    """List how often an item was sent, and what came of it."""
    rows = store.rows("SELECT * FROM queue_attempt WHERE item = ? ORDER BY attempt", [item.number])
    return [
        Attempt(
            *(row["attempt"], row["started_at"], row["ended_at"], row["url"]),
            *(row["outcome"], row["message"]),
        )
        for row in rows
    ]


def begin_attempts(
    store: Store, items: Sequence[QueueItem], url: str, now: int, counts_at: int
) -> None:
    """Mark items as being sent, and take their slots. Call it inside store.atomic().

    `counts_at` is budget time: when the log could take them at the latest.
    """
    ITEMS.claim(store, [(item.number,) for item in items], state=SENDING, changed_at=now)
    store.execute_many(
        "INSERT INTO queue_attempt (item, attempt, started_at, url) VALUES (?, ?, ?, ?)",
        [(item.number, item.attempts + 1, now, url) for item in items],
    )
    store.execute_many(
        "INSERT INTO budget_spend (tenant, tier, counts_at, item, attempt) VALUES (?, ?, ?, ?, ?)",
        [
            (item.what.tenant, item.what.tier, counts_at, item.number, item.attempts + 1)
            for item in items
        ],
    )


def settle_spend(store: Store, item: QueueItem, attempt: int, counts_at: int | None) -> None:
    """Say when an attempt counts, now that it is known; None: the log took nothing."""
    if counts_at is None:
        store.execute(
            "DELETE FROM budget_spend WHERE item = ? AND attempt = ?", [item.number, attempt]
        )
    else:
        store.execute(
            "UPDATE budget_spend SET counts_at = ? WHERE item = ? AND attempt = ?",
            [counts_at, item.number, attempt],
        )


def end_attempt(
    store: Store, item: QueueItem, attempt: int, outcome: str, message: str, now: int
) -> None:
    """Record what came of an attempt."""
    store.execute(
        "UPDATE queue_attempt SET ended_at = ?, outcome = ?, message = ?"
        " WHERE item = ? AND attempt = ?",
        [now, outcome, message, item.number, attempt],
    )


def leave_sending(
    store: Store, item: QueueItem, state: str, *, reason: str, message: str, now: int, next_at: int
) -> None:
    """Give an item that was being sent its next state."""
    why = {"reason": reason, "message": message}
    ITEMS.settle(store, item.number, state=state, changed_at=now, next_at=next_at, **why)


def put_receipt(
    store: Store, item: QueueItem, log_id: int, log_index: int, entry: bytes, now: int
) -> None:
    """Keep the proof of an item. The caller verified it under the pinned key."""
    store.execute(
        "INSERT INTO queue_receipt (item, log_id, log_index, entry, verified_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [item.number, log_id, log_index, entry, now],
    )


def receipt_of(store: Store, item: QueueItem) -> bytes | None:
    """Return the TransparencyLogEntry (JSON) that proves an item, if there is one."""
    row = store.row("SELECT entry FROM queue_receipt WHERE item = ?", [item.number])
    return None if row is None else bytes(row["entry"])


def take_back_interrupted(store: Store, now: int) -> int:
    """Queue again what a drain that died was sending; how many. The same bytes go out again."""
    with store.atomic():
        store.execute(
            "UPDATE queue_attempt SET outcome = ?, message = ? WHERE ended_at IS NULL AND"
            " item IN (SELECT number FROM queue_item WHERE state = 'sending')",
            [INTERRUPTED, "the drain ended before the answer was recorded"],
        )
        taken = store.execute(
            "UPDATE queue_item SET state = 'queued', reason = ?, changed_at = ?, next_at = ?"
            " WHERE state = 'sending'",
            [INTERRUPTED, now, now],
        )
    return taken.rowcount
