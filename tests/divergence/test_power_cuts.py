"""The process dies at any durable step of an incident: told whole, or found again whole."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from appliance.errors import DivergenceError
from appliance.store.database import Store, open_store
from appliance.store.divergence.alerts import alerts
from appliance.store.divergence.evidence import evidence_of
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from tests.divergence.conftest import MEMORY
from tests.jobs.faults import Faults, PowerCutError, injected
from tests.mirror.mirrors import make_mirror, sync_from
from tests.simulator import SimulatedLog


def reopened(home: Path) -> Mirror:
    store = open_store(home, write=True)
    return Mirror(store, require_log(store, "log.example"))


def verify_whole(store: Store, mirror: Mirror) -> None:
    """Check that evidence, alert and quarantine are all there or none of them is."""
    kept, told = evidence_of(store, mirror.log), alerts(store)
    held = quarantine_of(store, mirror.log)
    assert len(kept) == len(told) == int(held is not None) <= 1
    assert mirror.history.accepted_sizes() == [300]
    assert held is None or held.last_common_size in (0, 120)


@pytest.mark.parametrize("growth", [0, 50])
def test_an_incident_is_whole_wherever_the_process_dies(growth: int) -> None:
    log = SimulatedLog()
    log.grow(300)
    twin = log.fork(at=120)
    twin.grow(growth)
    for after in (False, True):
        fail_at, finished = 0, False
        while not finished:
            fail_at += 1
            with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
                finished = _cut(Path(directory) / "home", log, twin, fail_at, after=after)
        assert fail_at > 3


def _cut(home: Path, log: SimulatedLog, twin: SimulatedLog, fail_at: int, *, after: bool) -> bool:
    """Cut the power at one durable call of a sync; whether it ended before that."""
    first = make_mirror(home, log)
    sync_from(first, log)
    first.store.close()
    finished = False
    with injected(Faults(fail_at, after=after)):
        mirror = reopened(home)
        try:
            sync_from(mirror, twin)
        except PowerCutError:
            pass
        except DivergenceError:
            finished = True
        mirror.store.close()
    mirror = reopened(home)
    verify_whole(mirror.store, mirror)
    with pytest.raises(DivergenceError):
        sync_from(mirror, twin)
    verify_whole(mirror.store, mirror)
    held = quarantine_of(mirror.store, mirror.log)
    assert held is not None and held.last_common_size == 120
    mirror.store.close()
    return finished
