"""Queue items by hand: queued again, or taken out. All that are named, or none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.store.database import Store
from appliance.store.queue.queue import (
    AGGREGATED,
    CANCELLED,
    EXPORTED,
    HELD,
    POSTPONED,
    QUEUED,
    REFUSED,
    WITHDRAWN,
    QueueItem,
    move_item,
    require_item,
)

_TO_RETRY: Final = (REFUSED, CANCELLED, POSTPONED, EXPORTED)
_TO_CANCEL: Final = (QUEUED, POSTPONED, EXPORTED, REFUSED)
UNFINISHED: Final = (*HELD, EXPORTED, AGGREGATED, REFUSED)  # refused: somebody has to look


def retry_items(
    store: Store, ids: Sequence[str], now: int, *, dry_run: bool = False
) -> list[QueueItem]:
    """Queue items again, the same bytes; return them as they were. Raises RefusedError."""
    with store.atomic(dry_run=dry_run):
        items = [require_item(store, one) for one in ids]
        for item in items:
            move_item(store, item, QUEUED, allowed=_TO_RETRY, now=now)
    return items


def cancel_items(
    store: Store, ids: Sequence[str], now: int, *, dry_run: bool = False
) -> list[QueueItem]:
    """Take items out; return them as they were. Raises RefusedError for what cannot be.

    Of what left in a transfer bundle the other side is told by the next exports.
    """
    with store.atomic(dry_run=dry_run):
        items = [require_item(store, one) for one in ids]
        for item in items:
            reason = WITHDRAWN if item.state == EXPORTED else ""
            move_item(store, item, CANCELLED, allowed=_TO_CANCEL, now=now, reason=reason)
    return items
