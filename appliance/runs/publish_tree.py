"""Publish a log to a directory: read the home, write the directory, keep evidence if need be."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.errors import ConfigError
from appliance.jobs.divergence.gossip import compare_note
from appliance.jobs.mirror.publish_tree import PublishedTree, publish_tree
from appliance.jobs.progress import Progress
from appliance.runs.session import Session
from appliance.store.database import Store
from appliance.store.mirror.logs import Log, all_backends, require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.static_tree import StaticTree
from appliance.times import utc


def publish(
    session: Session,
    directory: Path,
    backend: str | None,
    progress: Progress,
    *,
    everything: bool,
) -> tuple[Log, PublishedTree]:
    """Publish the log of a backend, or the only log there is, to a directory.

    No lock of the home is taken: a sync goes on beside it. Raises ConfigError (which-log) if
    there are several logs and none is named, and as publish_tree does.
    """
    tree = StaticTree(directory)

    def refute(note: bytes) -> None:
        # Now somebody has to write, and the directory stays as it is.
        with session.writing() as store:
            compare_note(store, note, str(directory / "checkpoint"), session.now())

    holder = f"pid {os.getpid()} (attestor tiles publish) since {utc(session.clock.system())}\n"
    with session.reading() as store:
        log = _chosen(store, backend)
        with tree.locked(holder, session.lock_wait, session.sleep):
            mirror = Mirror(store, log)
            now = session.now()
            done = publish_tree(mirror, tree, now, refute, everything=everything, progress=progress)
    return log, done


def _chosen(store: Store, backend: str | None) -> Log:
    if backend is not None:
        return require_backend(store, backend).log
    backends = all_backends(store)
    logs = {one.log.id: one.log for one in backends}
    if len(logs) == 1:
        return next(iter(logs.values()))
    raise ConfigError(
        f"this home holds {len(logs)} logs: {', '.join(one.name for one in backends) or 'none'}",
        reason="which-log",
        next_step="name one with --backend ID; each has a directory of its own",
    )
