"""A shard that has ended: asked until all of it is here, sealed, then looked at rarely."""

from __future__ import annotations

from contextlib import closing

from appliance.store.mirror.logs import put_window, require_log
from tests.divergence.conftest import server, world
from tests.divergence.world import DAY, World

__all__ = ["server", "world"]


def end_it(world: World) -> None:
    """Let the trusted root say that the window of the log's key is over."""
    with closing(world.store()) as store, store.atomic():
        put_window(store, require_log(store, "log.example"), world.log.key.spki, None, world.now)


def asked(world: World, *words: str, after: int = 300, expect: int = 0) -> bool:
    """Sync, and say whether the log was asked for anything."""
    before = len(world.log.requests)
    world.sync(*words, after=after, expect=expect)
    return len(world.log.requests) > before


def test_a_shard_is_asked_until_it_is_complete_and_then_once_a_week(world: World) -> None:
    world.log.grow(1000)
    world.sync("--max-tiles", "1")
    end_it(world)
    assert asked(world, "--max-tiles", "1")  # more to fetch
    assert asked(world)  # the rest
    assert not asked(world)  # sealed
    assert world.cli("sync")["data"]["backends"] == []
    assert world.cli("sync-status")["data"]["backends"][0]["health"] == "FROZEN"
    assert asked(world, "--backend", "primary")  # who names it gets it
    assert not asked(world, after=6 * DAY)
    assert asked(world, after=2 * DAY)
    world.cli("check")


def test_growth_of_a_sealed_shard_is_seen_within_a_week(world: World) -> None:
    world.log.grow(1000)
    world.sync()
    end_it(world)
    world.sync()
    world.log.grow(1)
    assert not asked(world)
    assert asked(world, after=8 * DAY, expect=4)
