"""What exports carried besides logs: each a few times, for sticks get lost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.store.database import Store

TIMES: Final = 3


def is_due(store: Store, what: str, besides: str = "") -> bool:
    """Whether something was not carried often enough yet.

    `besides` is a volume set that is made again: what it carried does not count.
    """
    row = store.row(
        "SELECT count(*) AS n FROM carried WHERE what = ? AND volume_set <> ?", [what, besides]
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
