"""The last common point of two trees, exactly where tiles are there, and never too far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from appliance.tlog.shared_leaves import shared_leaves
from appliance.tlog.tile import Tile
from appliance.tlog.tile_tree import TileTree
from tests.simulator import SimulatedLog


def reader(log: SimulatedLog) -> Callable[[Sequence[Tile]], dict[Tile, bytes]]:
    return lambda wanted: dict(log.tiles(wanted))


def shared(one: SimulatedLog, other: SimulatedLog) -> int:
    return shared_leaves(TileTree(one.head), TileTree(other.head), reader(one), reader(other))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64, 255, 256, 257, 700])
def test_the_first_leaf_that_differs_is_found(size: int) -> None:
    log = SimulatedLog()
    log.grow(size)
    for leaf in {0, 1, size // 2, size - 1} & set(range(size)):
        for growth in (0, 1, 300):
            twin = log.fork(at=leaf)
            twin.grow(growth)
            assert shared(log, twin) == shared(twin, log) == leaf


def test_a_prefix_is_shared_whole() -> None:
    log = SimulatedLog()
    log.grow(1000)
    replica = log.fork(at=1000)
    replica.roll_back(to=300)
    assert shared(log, replica) == 300
    assert shared(SimulatedLog(), log) == 0


def test_it_asks_for_a_tile_a_level_not_for_the_tree() -> None:
    log = SimulatedLog()
    log.grow(70_000)
    twin = log.fork(at=12_345)
    asked = len(twin.requests)
    assert shared(log, twin) == 12_345
    assert len(twin.requests) - asked < 8


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_a_tile_that_is_lost_or_wrong_makes_it_less_never_more(which: str) -> None:
    for break_it in ("lose", "lie"):
        log = SimulatedLog()
        log.grow(1000)
        twin = log.fork(at=600)
        broken = log if which == "ours" else twin
        getattr(broken, break_it)(Tile(0, 2))
        assert shared(log, twin) == 512
        getattr(broken, break_it)(Tile(1, 0, 3))
        assert shared(log, twin) == 0
