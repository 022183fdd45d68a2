"""A log that is frozen while items wait for it: the way on is named."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.jobs.divergence.health import home_health
from appliance.jobs.divergence.successor import way_on_from_frozen
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.sync import sync
from appliance.policy.health import ProblemKind
from appliance.runs.session import Session
from appliance.store.mirror.logs import (
    add_log,
    put_backend,
    require_backend,
    require_log,
    set_backend_enabled,
)
from appliance.store.mirror.mirror import Mirror
from tests.queue.queues import NOW, add, new_store
from tests.simulator import SimulatedLog


def test_the_successor_of_a_frozen_log_is_offered(tmp_path: Path) -> None:
    old, new, other_version = (SimulatedLog(f"log{n}.example") for n in range(3))
    store = new_store(tmp_path / "home", old)
    with store.atomic():
        put_backend(
            *(store, "old", add_log(store, "frozen.example", 2, SimulatedLog("f").key.spki)),
            base_url="https://frozen.example",
            read_url=None,
        )
    frozen = require_backend(store, "old")
    with store.atomic():
        for name, log, version in (("new", new, 2), ("v1", other_version, 1)):
            put_backend(
                *(store, name, add_log(store, log.origin, version, log.key.spki)),
                base_url=f"https://{name}.example",
                read_url=None,
            )
    said = way_on_from_frozen(store, frozen)
    assert "attestor config set rekor.serverUrl https://new.example (log1.example)" in said
    assert "v1.example" not in said and "https://frozen.example" not in said
    with store.atomic():
        for row in store.rows("SELECT name FROM backend"):
            set_backend_enabled(store, row["name"], enabled=row["name"] == "old")
    assert "backend discover" in way_on_from_frozen(store, frozen)
    store.close()


def test_check_tells_that_the_queues_log_is_frozen_and_offers_its_successor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    log, new = SimulatedLog(), SimulatedLog("new.example")
    with closing(new_store(home, log)) as store:
        log.grow(5)
        mirror = Mirror(store, require_log(store, log.origin))
        sync(store, require_backend(store, "server"), log, Wanted(), NOW)
        with store.atomic():
            pinned = add_log(store, new.origin, 2, new.key.spki)
            put_backend(store, "new", pinned, base_url="https://new.example", read_url=None)
            set_backend_enabled(store, "new", enabled=False)
        add(store, b"waits")
        assert home_health(store, NOW + 60).problems == ()
        log.freeze()
        sync(store, require_backend(store, "server"), log, Wanted(), NOW + 60)
        with store.atomic():
            set_backend_enabled(store, "new", enabled=True)
        [told] = home_health(store, NOW + 120, backends=[]).problems
        assert mirror.history.accepted() is not None
    assert told.is_critical and told.kind is ProblemKind.QUEUE
    assert told.text == "1 in the queue, and log.example is frozen: it takes nothing more"
    assert "rekor.serverUrl https://new.example" in told.next_step
    session = Session(home=home, now=lambda: NOW + 120, sleep=lambda _: None)
    assert run(["check", "--backend", "server"], session) == 2
    assert "it takes nothing more" in capsys.readouterr().out
