"""Logs that have ended: asked until all of them is here, then rarely, in case one grows."""

from __future__ import annotations

from typing import Final

from appliance.config.configuration import Configuration
from appliance.jobs.our_tree import is_without_tiles
from appliance.store.database import Store
from appliance.store.home.runs import backend_run
from appliance.store.mirror.logs import Backend, Log, trees_of, window_end
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.tile import WIDTH

SEALED_SECONDS: Final = 7 * 86_400  # between two looks at a log that is sealed


def logs_of(store: Store, backend: Backend) -> list[Log]:
    """Return the log of a backend; of an instance of Rekor v1 the closed trees before it too."""
    if backend.follows is None:
        return [backend.log]
    others = [one for one in trees_of(store, backend.follows) if one.id != backend.log.id]
    return [*(one for one in others if Mirror(store, one).history.accepted()), backend.log]


def is_sealed(store: Store, configuration: Configuration, backend: Backend) -> bool:
    """Whether a backend's log has ended, all that is wanted of it is here, and it said so since.

    That is, it offered nothing beyond our head after the window of its last key was over.
    """
    end, run = window_end(store, backend.log), backend_run(store, backend.name)
    if end is None or run is None or run.confirmed_at is None or run.confirmed_at <= end:
        return False
    mirror = Mirror(store, backend.log)
    accepted, mirrored = mirror.history.accepted(), mirror.history.mirror_checkpoint()
    if accepted is None:
        return False
    if is_without_tiles(mirror):
        return True  # it is proven to its end, and serves nothing more
    if configuration.flag("rekorSync.enableTileSync") and (
        mirrored is None or mirrored.head != accepted.head
    ):
        return False
    size = accepted.head.tree_size
    return not configuration.flag("rekorSync.enableEntrySync") or not any(
        True for _ in mirror.missing_entry_bundles(size, mirror.first_entry_bundle() * WIDTH)
    )


def is_resting(store: Store, configuration: Configuration, backend: Backend, now: int) -> bool:
    """Whether a sync of all backends passes this one by: it is sealed, and was asked lately."""
    run = backend_run(store, backend.name)
    return (
        run is not None
        and 0 <= now - run.attempted_at < SEALED_SECONDS
        and is_sealed(store, configuration, backend)
    )
