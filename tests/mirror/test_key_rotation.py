"""A log that comes back with another key: the old one is not in force any more."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from appliance.store.mirror.logs import add_log, put_window, require_log
from tests.divergence.conftest import server, world
from tests.divergence.world import World
from tests.simulator import SimulatedLog

__all__ = ["server", "world"]


def file_of(world: World, name: str, key: SimulatedLog) -> Path:
    """Write a configuration whose only backend is the world's log, under another key."""
    pinned = world.directory / f"{name}.der"
    pinned.write_bytes(key.key.spki)
    backend = {
        "id": name,
        "origin": "log.example",
        "readUrl": world.url("primary"),
        "publicKeyPath": str(pinned),
    }
    file = world.directory / f"{name}.yaml"
    file.write_text(json.dumps({"attestor": {"rekorSync": {"backends": [backend]}}}))
    return file


@pytest.mark.parametrize("way", ["another id", "removed first", "backend add"])
def test_a_log_that_is_added_again_with_another_key(world: World, way: str) -> None:
    world.log.grow(20)
    world.sync()
    file = file_of(world, "again", SimulatedLog("another.example"))
    if way != "another id":
        world.cli("backend", "remove", "primary")
    if way == "backend add":
        where = ("--origin", "log.example", "--read-url", world.url("primary"))
        key = world.directory / "again.der"
        world.cli("backend", "add", "again", *where, "--public-key", key)
    else:
        world.cli("config", "apply", "--prune", file)
    states = sorted(one["state"] for one in world.cli("backend", "key", "list")["data"]["keys"])
    assert states == ["pinned", "retired"]
    world.log.grow(1)
    assert world.sync(expect=8)["error"]["reason"] == "retired-key"


@pytest.mark.parametrize("ended", [True, False])
def test_growth_by_a_key_whose_window_is_over_is_refused(world: World, ended: bool) -> None:
    """Two keys are pinned; the trusted root says that the one which signs has ended."""
    world.log.grow(20)
    world.sync()
    with closing(world.store()) as store, store.atomic():
        log = require_log(store, "log.example")
        add_log(store, log.origin, 2, SimulatedLog("another.example").key.spki, world.now)
        put_window(store, log, world.log.key.spki, None, world.now - 1 if ended else None)
    world.log.grow(1)
    said = world.sync(expect=8 if ended else 0)
    if ended:
        assert said["error"]["reason"] == "retired-key"
        assert "whose window in the trusted root ended" in said["error"]["message"]


def test_a_key_whose_window_is_over_may_have_signed_before_we_looked(world: World) -> None:
    world.log.grow(20)
    world.sync()
    with closing(world.store()) as store, store.atomic():
        log = require_log(store, "log.example")
        add_log(store, log.origin, 2, SimulatedLog("another.example").key.spki, world.now)
        put_window(store, log, world.log.key.spki, None, world.now + 60)
    world.log.grow(1)
    world.sync()


def test_applying_a_file_again_retires_nothing(world: World) -> None:
    world.log.grow(20)
    world.sync()
    file = file_of(world, "primary", world.log)
    for _ in range(2):
        world.cli("config", "apply", file)
    world.log.grow(1)
    world.sync()
    [key] = world.cli("backend", "key", "list")["data"]["keys"]
    assert key["state"] == "pinned"
