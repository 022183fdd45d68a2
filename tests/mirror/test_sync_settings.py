"""What the settings and options of a sync make it fetch, and whom it asks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.divergence.conftest import server, world
from tests.divergence.world import World
from tests.simulator import SimulatedLog

__all__ = ["server", "world"]


def synced(world: World, *options: str) -> dict[str, Any]:
    """Sync, and return what came of the one backend."""
    [report] = world.sync(*options)["data"]["backends"]
    return dict(report)


def test_max_tiles_per_sync_caps_a_run_and_options_lift_it(world: World) -> None:
    world.log.grow(3000)
    world.set("rekorSync.maxTilesPerSync", "2")
    first = synced(world)
    assert (first["complete"], first["acceptedSize"]) == (False, 3000)
    # The right edge comes with the checkpoint; of the others no more than two.
    second = synced(world)
    assert (second["complete"], second["tiles"]) == (False, 2)
    assert synced(world, "--max-tiles", "3")["tiles"] == 3
    assert synced(world, "--full")["complete"] is True


def test_enable_entry_sync_fetches_entry_bundles_unless_told_otherwise(world: World) -> None:
    world.log.grow(600)
    assert synced(world)["entryBundles"] == 0
    world.set("rekorSync.enableEntrySync", "true")
    assert synced(world, "--no-entries")["entryBundles"] == 0
    assert synced(world)["entryBundles"] == 3
    world.log.grow(300)
    world.set("rekorSync.enableEntrySync", "false")
    assert synced(world)["entryBundles"] == 0
    assert synced(world, "--entries")["entryBundles"] > 0


def test_without_enable_tile_sync_only_what_proves_the_checkpoint_is_stored(world: World) -> None:
    world.log.grow(3000)
    world.set("rekorSync.enableTileSync", "false")
    assert synced(world)["mirrorSize"] is None
    assert synced(world, "--full-tiles")["mirrorSize"] == 3000


def test_a_backend_without_a_url_is_left_out_unless_it_is_named(world: World) -> None:
    log = SimulatedLog("carried.example")
    key = world.directory / "carried.vkey"
    key.write_text(log.key.vkey + "\n")
    world.cli("backend", "add", "carried", "--origin", log.origin, "--public-key", key)
    assert [one["backend"] for one in world.sync()["data"]["backends"]] == ["primary"]
    error = world.sync("--backend", "carried", expect=9)["error"]
    assert error["reason"] == "no-url"
    world.cli("backend", "disable", "primary")
    assert world.sync(expect=9)["error"]["reason"] == "no-url"


@pytest.mark.parametrize("kind", ["nfs4", "cifs"])
def test_nothing_is_written_to_a_home_on_a_network_filesystem_unless_allowed(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.store.filesystem.filesystem_type", lambda _: kind)
    assert world.sync(expect=6)["error"]["reason"] == "network-filesystem"
    world.cli("--allow-network-fs", "sync")
