"""What time it is at least: the newest time that our own records or a signature prove.

A clock that is set back must not make old things new. The floor only rises; the one way
down is reset_record, for a home whose clock was ahead once.
"""

from __future__ import annotations

from typing import Final

from appliance.store.database import Store
from appliance.value import frozen

RECORD: Final = "record"  # our clock wrote it down
SIGNED: Final = "signed"  # somebody else signed it


@frozen
class Floor:
    """A time that has passed for sure."""

    at: int  # Unix seconds
    source: str  # what proves it, for people
    kind: str  # RECORD or SIGNED


def clock_floor(store: Store) -> Floor | None:
    """Return the newest time that is proven to have passed; None: nothing proves any."""
    row = store.row("SELECT at, source, kind FROM clock_floor ORDER BY at DESC, kind DESC LIMIT 1")
    return None if row is None else Floor(row["at"], row["source"], row["kind"])


def signed_floor(store: Store) -> Floor | None:
    """Return the newest time that somebody else signed; None: nobody did."""
    row = store.row("SELECT at, source, kind FROM clock_floor WHERE kind = ?", [SIGNED])
    return None if row is None else Floor(row["at"], row["source"], row["kind"])


def raise_floor(store: Store, kind: str, at: int, source: str) -> None:
    """Record that a time has passed. An older one than is known changes nothing."""
    store.execute(
        "INSERT INTO clock_floor VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at,"
        " source = excluded.source WHERE excluded.at > at",
        [kind, at, source],
    )


def reset_record(store: Store, now: int, source: str) -> int:
    """Bring what was written down while a clock was ahead back to `now`; how many times.

    No line of the journal changes, and what somebody signed raises the floor again the next
    time it is seen. Call it inside store.atomic().
    """
    changed = 0
    for table, column in _OUR_TIMES:
        changed += store.execute(
            f"UPDATE {table} SET {column} = ?1 WHERE {column} > ?1",  # noqa: S608 fixed names
            [now],
        ).rowcount
    store.execute("DELETE FROM clock_floor")
    raise_floor(store, RECORD, now, source)
    return changed


# Where our clock is written down and compared with later: table and column.
_OUR_TIMES: Final = (
    ("last_sync", "at"),
    ("last_sync", "answered_at"),
    *(
        ("backend_run", column)
        for column in (
            *("attempted_at", "succeeded_at", "confirmed_at", "behind_since"),
            *("answered_at", "covered_at", "moved_at", "failing_since"),
        )
    ),
    *(("command_run", column) for column in ("ended_at", "succeeded_at", "failing_since")),
    ("checkpoint", "first_seen_at"),
    ("checkpoint", "stored_at"),
    ("checkpoint_note", "seen_at"),
    ("trusted_root", "imported_at"),
    ("transfer", "at"),
    ("alert", "detected_at"),
    ("alert", "last_seen_at"),
    ("delivery", "next_at"),
    ("queue_item", "created_at"),
    ("queue_item", "changed_at"),
    ("queue_item", "next_at"),
)
