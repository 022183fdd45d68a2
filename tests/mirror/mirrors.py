"""A mirror of a simulated log in a real store, for the tests of jobs."""

from __future__ import annotations

from pathlib import Path

from appliance.jobs.mirror.absorb import AbsorbReport
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.sync import sync
from appliance.store.database import Store, create_store
from appliance.store.mirror.logs import Backend, add_log, put_backend, require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.log_source import LogSource
from tests.rig.uniform_log import UniformLog
from tests.simulator import SimulatedLog

NOW = 1_760_000_000
EVERYTHING = Wanted(entries=True)


def make_mirror(home: Path, log: SimulatedLog | UniformLog) -> Mirror:
    """Create a store whose only backend is `log`."""
    store = create_store(home)
    with store.atomic():
        known = add_log(store, log.origin, 2, log.key.spki)
        put_backend(store, "sim", known, base_url="http://log.invalid/", read_url=None)
    return Mirror(store, known)


def backend_of(store: Store) -> Backend:
    return require_backend(store, "sim")


def sync_from(
    mirror: Mirror, source: LogSource, wanted: Wanted = EVERYTHING, now: int = NOW
) -> AbsorbReport:
    return sync(mirror.store, backend_of(mirror.store), source, wanted, now)


def stored_state(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row that a log's source can influence, to compare before and after."""
    tables = ("log", "log_key", "checkpoint", "checkpoint_note", "tile", "entry_bundle", "setting")
    return {
        table: sorted(
            (tuple(row) for row in store.rows(f"SELECT * FROM {table}")),  # noqa: S608 fixed names
            key=repr,
        )
        for table in tables
    }
