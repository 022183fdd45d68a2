"""The finished Sigstore bundle of a queued item, waited for if that is wanted."""

from __future__ import annotations

from typing import Final

from appliance.errors import RemoteError
from appliance.jobs.queue.log_proof import finished_bundle
from appliance.runs.session import Session
from appliance.store.queue.queue import QueueItem, require_item

LOOK_AGAIN_SECONDS: Final = 2.0


def finish(session: Session, text: str, wait_seconds: float) -> tuple[QueueItem, bytes]:
    """Return the item whose id begins with `text`, and its Sigstore bundle.

    Looks again until it is logged, for so many seconds at most; the store is not kept open
    in between. Raises RemoteError (not-logged) after that, IncompleteError at once if there is
    no such item, RefusedError at once if it waits no more.
    """
    deadline = session.monotonic() + wait_seconds
    while True:
        try:
            with session.fresh().reading() as store:
                item = require_item(store, text)
                return item, finished_bundle(store, item)
        except RemoteError:
            left = deadline - session.monotonic()
            if left <= 0:
                raise
        session.sleep(min(LOOK_AGAIN_SECONDS, left))
