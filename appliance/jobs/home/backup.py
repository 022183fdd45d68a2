"""Back up a home while it is in use (store backup).

The database and the records of private logs are read at one instant, under the home's
lock; blobs are copied after it, holding nobody up: what a row names never changes, and
only a prune could take it away meanwhile, which is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path

from appliance.jobs.progress import SILENT, Progress
from appliance.store.database import DATABASE_NAME, Store, open_store
from appliance.store.home.backup import (
    copy_blobs,
    copy_database,
    copy_keys,
    new_copy,
    refuse_without_room,
)
from appliance.store.private_log.last_signed import mark_restored
from appliance.store.references import named_blobs
from appliance.store.witness.cosigned import mark_witnesses_restored
from appliance.value import frozen

Lock = Callable[[], AbstractContextManager[None]]


@frozen
class BackupReport:
    """What was copied."""

    path: Path
    n_bytes: int  # of the database
    blobs: int | None  # None: none were asked for
    keys: int | None  # files of keys/; None: none were asked for
    damaged: tuple[str, ...]  # what the copy lacks because it could not be read, and why


def backup(
    store: Store,
    target: Path,
    lock: Lock,
    *,
    with_blobs: bool,
    with_keys: bool,
    progress: Progress = SILENT,
) -> BackupReport:
    """Copy the home to `target`: a database file, or with more a directory that is a home.

    Raises StoreError if `target` exists, there is no room, or the database is damaged. A
    damaged blob is left out and named: what is sound is worth saving.
    """
    is_home = with_blobs or with_keys
    n_bytes = (store.home / DATABASE_NAME).stat().st_size
    named = named_blobs(store) if with_blobs else ()
    refuse_without_room(target.parent, n_bytes + sum(blob.n_bytes or 0 for blob in named))
    damaged: list[str] = []
    blobs = keys = None
    with new_copy(target, only="" if is_home else DATABASE_NAME) as directory:
        # The database alone is consistent without the lock, and readers may have no right to it.
        with lock() if is_home else nullcontext():
            copy_database(store, directory)
            if with_keys:
                keys = len(copy_keys(store.home, directory))
                mark_restored(directory)
                mark_witnesses_restored(directory)
        if with_blobs:
            blobs = 0
            copied = open_store(directory, write=False)
            try:
                # First what a sync could sweep meanwhile, once a wider tile takes its place.
                progress.stage("blobs", lambda: sum(1 for _ in named_blobs(copied)))
                passing = (blob for blob in named_blobs(copied) if blob.is_passing)
                others = (blob for blob in named_blobs(copied) if not blob.is_passing)
                for problem in copy_blobs(store, chain(passing, others), directory):
                    if problem is None:
                        blobs += 1
                    else:
                        damaged.append(problem)
                    progress(1)
            finally:
                copied.close()
    return BackupReport(target, n_bytes, blobs, keys, tuple(damaged))
