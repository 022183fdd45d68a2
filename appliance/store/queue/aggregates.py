"""Which items went into our own log together, and what was submitted for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from appliance.store.database import Store
from appliance.store.queue.queue import AGGREGATED, QueueItem, item_by_number
from appliance.value import frozen


@frozen
class Aggregate:
    """One root that stands for many items."""

    number: int
    log_id: int  # our own log
    tree_size: int
    note: bytes  # its checkpoint, byte for byte
    root_item: int  # number of the item that is submitted


@frozen
class Member:
    """One item of an aggregate, and where it is in our own log."""

    item: QueueItem
    entry_index: int


def add_aggregate(
    store: Store,
    log_id: int,
    tree_size: int,
    note: bytes,
    root: QueueItem,
    members: Sequence[Member],
    now: int,
) -> None:
    """Let a root stand for its items, which wait for it. Call it inside store.atomic()."""
    added = store.execute(
        "INSERT INTO aggregate (log_id, tree_size, note, root_item, made_at)"
        " VALUES (?, ?, ?, ?, ?)",
        [log_id, tree_size, note, root.number, now],
    )
    store.execute_many(
        "INSERT INTO aggregate_item VALUES (?, ?, ?) ON CONFLICT (item) DO UPDATE SET"
        " aggregate = excluded.aggregate, entry_index = excluded.entry_index",
        [(member.item.number, added.lastrowid, member.entry_index) for member in members],
    )


def open_aggregates(store: Store) -> list[Aggregate]:
    """List the aggregates whose items still wait, the oldest first."""
    rows = store.rows(
        "SELECT * FROM aggregate WHERE number IN (SELECT aggregate FROM aggregate_item"
        " JOIN queue_item ON number = item WHERE state = ?) ORDER BY number",
        [AGGREGATED],
    )
    return [_aggregate(row) for row in rows]


def aggregate_of(store: Store, item: QueueItem) -> tuple[Aggregate, Member] | None:
    """Return the aggregate an item is in, if it is in one."""
    row = store.row(
        "SELECT a.*, entry_index FROM aggregate_item AS i"
        " JOIN aggregate AS a ON i.aggregate = a.number WHERE item = ?",
        [item.number],
    )
    return None if row is None else (_aggregate(row), Member(item, row["entry_index"]))


def waiting_members(store: Store, aggregate: Aggregate) -> list[Member]:
    """List the items that still wait for a root."""
    rows = store.rows(
        "SELECT item, entry_index FROM aggregate_item JOIN queue_item ON number = item"
        " WHERE aggregate = ? AND state = ? ORDER BY item",
        [aggregate.number, AGGREGATED],
    )
    return [Member(item_by_number(store, row["item"]), row["entry_index"]) for row in rows]


def _aggregate(row: sqlite3.Row) -> Aggregate:
    return Aggregate(row["number"], row["log_id"], row["tree_size"], row["note"], row["root_item"])
