"""Where the queue can go on when the log that it is sent to takes nothing any more."""

from __future__ import annotations

from appliance.store.database import Store
from appliance.store.mirror.logs import Backend, all_backends


def way_on_from_frozen(store: Store, frozen_one: Backend) -> str:
    """Return how to send to another log what waits for one that takes nothing any more."""
    others = [
        backend
        for backend in all_backends(store)
        if backend.enabled
        and backend.base_url is not None
        and backend.mirror_of is None
        and backend.log != frozen_one.log
        and backend.log.api_version == frozen_one.log.api_version
    ]
    if not others:
        return (
            "add its successor ('attestor backend discover' knows those of the trusted root), then:"
            " attestor config set rekor.serverUrl URL, and 'attestor queue drain'"
        )
    choices = " or ".join(
        f"attestor config set rekor.serverUrl {one.base_url} ({one.log.origin})" for one in others
    )
    return f"what waits can go to another log: {choices}; then 'attestor queue drain'"
