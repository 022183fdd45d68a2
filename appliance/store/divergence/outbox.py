"""Deliveries: which alert still has to reach which sink, and when to try again.

A delivery is claimed before it is tried and recorded after. If we die in between, the claim
runs out and it is tried again under the same id, by which the other side knows it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Final

from appliance.store.database import Store
from appliance.store.outbox import Outbox
from appliance.value import frozen

DELIVERIES: Final = Outbox(
    table="delivery",
    key=("alert_number", "sink"),
    waiting="delivered_at IS NULL",
    claimed="delivered_at IS NULL",
)
MAX_ERROR_CHARACTERS: Final = 500


@frozen
class Delivery:
    """One alert on its way to one sink."""

    alert_number: int
    alert_id: str  # 32 hex digits, the idempotency id
    event_type: str
    severity: str
    payload: str  # JSON, exactly what is delivered
    sink: str  # by name
    attempts: int  # so far, without the one under way
    next_at: int  # Unix seconds; not before
    last_error: str | None


def undelivered(store: Store) -> tuple[Delivery, ...]:
    """List what has not arrived yet, in the order the alerts were raised."""
    rows = store.rows(
        "SELECT alert_number, alert.id, event_type, severity, payload, sink, attempts, next_at,"
        " last_error FROM delivery JOIN alert ON alert.number = alert_number"
        " WHERE delivered_at IS NULL ORDER BY alert_number, sink"
    )
    return tuple(Delivery(*row) for row in rows)


def waiting_since(store: Store) -> tuple[int, str] | None:
    """Return since when an alert waits for its sink, and for which; None: none was tried."""
    row = store.row(
        "SELECT detected_at, sink FROM delivery JOIN alert ON alert.number = alert_number"
        " WHERE delivered_at IS NULL ORDER BY detected_at, alert_number LIMIT 1"
    )
    return None if row is None else (row["detected_at"], row["sink"])


def has_due(store: Store, now: int) -> bool:
    """Whether anything should be tried at `now`."""
    row = store.row(
        "SELECT 1 FROM delivery WHERE delivered_at IS NULL AND next_at <= ? LIMIT 1", [now]
    )
    return row is not None


def claim(
    store: Store, sinks: Collection[str], now: int, until: int, *, early: bool, limit: int
) -> tuple[Delivery, ...]:
    """Take what is due for these sinks, or all there is if `early`; nobody else will, `until`.

    At most `limit` for each sink. One transaction. `now` and `until` are Unix seconds.
    """
    taken: list[Delivery] = []
    with store.atomic():
        per_sink: dict[str, int] = {}
        for one in undelivered(store):
            count = per_sink.get(one.sink, 0)
            if one.sink in sinks and (early or one.next_at <= now) and count < limit:
                per_sink[one.sink] = count + 1
                taken.append(one)
        keys = [(one.alert_number, one.sink) for one in taken]
        DELIVERIES.claim(store, keys, next_at=until)
    return tuple(taken)


def record_delivered(store: Store, one: Delivery, at: int) -> None:
    """Record that a sink took an alert. Call it inside store.atomic()."""
    DELIVERIES.settle(store, one.alert_number, one.sink, delivered_at=at, last_error=None)


def record_failure(store: Store, one: Delivery, error: str, next_at: int) -> None:
    """Record why a sink did not take an alert, and when to try again. Inside store.atomic()."""
    said = error[:MAX_ERROR_CHARACTERS]
    DELIVERIES.settle(store, one.alert_number, one.sink, last_error=said, next_at=next_at)


def give_up_others(store: Store, alert_number: int, sinks: Collection[str]) -> None:
    """Let an alert that somebody has seen wait for these sinks only. Inside store.atomic()."""
    store.execute(
        "DELETE FROM delivery WHERE alert_number = ? AND delivered_at IS NULL"
        " AND sink NOT IN (SELECT value FROM json_each(?))",
        [alert_number, json.dumps(list(sinks))],
    )


def release(store: Store, one: Delivery) -> None:
    """Give back a claim that came to nothing: it was not tried. Inside store.atomic()."""
    key = (one.alert_number, one.sink)
    DELIVERIES.release(store, *key, attempts=one.attempts, next_at=one.next_at)
