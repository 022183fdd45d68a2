"""Receipts of imports: what we issued, what far sides sent, and which exports carried ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.store.database import Store
from appliance.value import frozen

# What exports carried besides logs: each a few times, for sticks get lost.


TIMES: Final = 3


def is_due(store: Store, what: str, side: str = "") -> bool:
    """Whether something was not carried often enough yet.

    `side` is a volume set that is made again: what it carried does not count.
    """
    row = store.row(
        "SELECT count(*) AS n FROM carried WHERE what = ? AND volume_set <> ?", [what, side]
    )
    return row is None or row["n"] < TIMES


def record_carried(store: Store, carried: Iterable[str], volume_set: str) -> None:
    """Remember what an export carries. Call it inside store.atomic()."""
    store.execute_many(
        "INSERT INTO carried VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(what, volume_set) for what in carried],
    )


def forget_carried(store: Store, what: str) -> None:
    """Have something carried again, for it is new. Call it inside store.atomic()."""
    store.execute("DELETE FROM carried WHERE what = ?", [what])


MAX_CARRIED: Final = 100  # receipts in one export, newest first


@frozen
class StoredReceipt:
    """One receipt."""

    bundle_id: str  # of the transfer bundle that was imported, 64 hex digits
    site: str  # that imported it
    ours: bool
    at: int  # Unix seconds, our clock
    note: bytes  # the signed note; empty: a code was read over the phone


def carries(bundle_id: str) -> str:
    """Name what an export carries that brings our receipt of a transfer bundle."""
    return f"receipt:{bundle_id}"


def carries_item(id_: str) -> str:
    """Name what an export carries that brings one of our queue items."""
    return f"pending:{id_}"


def carries_withdrawal(id_: str) -> str:
    """Name what an export carries that takes one of our queue items back."""
    return f"withdrawn:{id_}"


def has_taken(store: Store, site: str, id_: str) -> bool:
    """Whether a site has said that it imported an export that carried a queue item."""
    row = store.row(
        "SELECT 1 FROM carried JOIN transfer USING (volume_set) JOIN receipt USING (bundle_id)"
        " WHERE carried.what = ? AND transfer.direction = 'export' AND NOT receipt.ours"
        " AND receipt.site = ? LIMIT 1",
        [carries_item(id_), site],
    )
    return row is not None


def put_receipt(store: Store, receipt: StoredReceipt) -> None:
    """Keep a receipt, in the place of an earlier one of the same import. Inside store.atomic()."""
    store.execute(
        "INSERT INTO receipt VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " at = excluded.at, note = excluded.note",
        [receipt.bundle_id, receipt.site, receipt.ours, receipt.at, receipt.note],
    )
    if receipt.ours:
        forget_carried(store, carries(receipt.bundle_id))


def our_receipt(store: Store, bundle_id: str) -> bytes | None:
    """Return the receipt that we issued for a transfer bundle."""
    row = store.row("SELECT note FROM receipt WHERE ours AND bundle_id = ?", [bundle_id])
    return None if row is None else bytes(row["note"])


def all_receipts(store: Store) -> list[StoredReceipt]:
    """List every receipt, oldest first."""
    rows = store.rows("SELECT * FROM receipt ORDER BY at, bundle_id, site")
    return [
        StoredReceipt(row["bundle_id"], row["site"], bool(row["ours"]), row["at"], row["note"])
        for row in rows
    ]


def receipts_to_carry(store: Store, *, side: str = "") -> dict[str, bytes]:
    """Return our receipts, by bundle id, that were not carried often enough yet.

    `side` is a volume set that is made again: what it carried does not count.
    """
    rows = store.rows(
        "SELECT bundle_id, note FROM receipt WHERE ours AND"
        " (SELECT count(*) FROM carried"
        "   WHERE what = 'receipt:' || receipt.bundle_id AND volume_set <> ?) < ?"
        " ORDER BY at DESC, bundle_id LIMIT ?",
        [side, TIMES, MAX_CARRIED],
    )
    return {row["bundle_id"]: bytes(row["note"]) for row in sorted(rows, key=lambda row: row[0])}
