"""The Sigstore bundle of an item that is logged: what waited, with its verified log entry."""

from __future__ import annotations

from appliance.errors import IncompleteError
from appliance.rekor.transparency_log_entry import parse_log_entry
from appliance.sigstore.bundle_making import finish_bundle
from appliance.store.attempts import receipt_of
from appliance.store.database import Store
from appliance.store.queue import QueueItem


def finished_bundle(store: Store, item: QueueItem) -> bytes:
    """Return the Sigstore bundle (0.3) of an item, with stamps and log entry.

    Raises IncompleteError if it is not logged yet, or came from another site, which alone
    has what was signed.
    """
    receipt = receipt_of(store, item)
    if receipt is None:
        raise IncompleteError(
            f"item {item.id[:12]} is {item.state}: it has no proof yet",
            reason="not-logged",
            next_step="attestor queue drain, or wait for its proof to come back",
        )
    if item.what.unfinished is None:
        raise IncompleteError(
            f"item {item.id[:12]} came from {item.what.site}: what was signed is there",
            reason="made-elsewhere",
            next_step="its proof travels back: attestor export --include-pending",
        )
    return finish_bundle(item.what.unfinished, parse_log_entry(receipt))
