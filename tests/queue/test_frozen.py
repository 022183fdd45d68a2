"""A log that is frozen while items wait for it: the way on is named."""

from __future__ import annotations

from pathlib import Path

from appliance.runs.drain import way_on_from_frozen
from appliance.store.mirror.logs import add_log, put_backend, require_backend, set_backend_enabled
from tests.queue.queues import new_store
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
