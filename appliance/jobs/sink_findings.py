"""Whether alerts would reach their sinks, as far as can be seen without sending one (doctor).

Sinks are used when something bad has happened; what is wrong with them has to be found before.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from appliance.config.configuration import Sink
from appliance.errors import ConfigError
from appliance.jobs.configure import read_configuration
from appliance.jobs.findings import Outcome, ok, warning
from appliance.store.database import Store
from appliance.store.filesystem import access_of
from appliance.store.key_files import read_secret
from appliance.store.outbox import undelivered

MAX_SECRET_BYTES: Final = 4096


def sinks_ready(store: Store) -> tuple[Outcome, str]:
    """Look at what each sink needs of this host, and at what waits for them.

    Raises ConfigError for a secret, a program or a directory that the next alert would miss.
    """
    configuration = read_configuration(store)
    if not configuration.sinks:
        return ok("none; alerts are recorded and nobody is told")
    access = access_of(store.home)
    if access is None or not access.is_ours:
        return Outcome.SKIPPED, "the home belongs to another user, who is the one to deliver"
    for sink in configuration.sinks:
        _verify_sink(sink)
    names = ", ".join(one.name for one in configuration.sinks)
    waiting = undelivered(store)
    failed = [one for one in waiting if one.last_error is not None]
    if failed:
        return warning(f"{len(waiting)} wait; for {failed[0].sink}: {failed[0].last_error}")
    return ok(names)


def _verify_sink(sink: Sink) -> None:
    if sink.secret_file is not None:
        read_secret(Path(sink.secret_file), MAX_SECRET_BYTES)
    if sink.argv and shutil.which(sink.argv[0]) is None:
        raise ConfigError(
            f"alert sink {sink.name}: {sink.argv[0]} is no program that this user can run",
            reason="bad-sink",
            next_step="correct argv, or make it executable",
        )
    if sink.path is not None:
        path = Path(sink.path)
        where = path if path.exists() else path.parent
        if not os.access(where, os.W_OK):
            raise ConfigError(
                f"alert sink {sink.name}: this user cannot write to {where}",
                reason="bad-sink",
                next_step=f"make {path.parent} exist and belong to the user that runs sync",
            )
