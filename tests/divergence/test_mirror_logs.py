"""Which log a mirror log copies, where a home has several; and what is said if nobody can tell."""

from __future__ import annotations

from typing import Any

import pytest

from tests.divergence.world import MINUTE, World
from tests.simulator import SimulatedLog

MIRROR = "mirror.example"
COUNTED = f"cross_log_divergence_total {MIRROR} log.example"


def two_logs(world: World) -> SimulatedLog:
    """Give the world a second log of its own, and name a mirror log; return the second."""
    world.log.grow(40)
    second = SimulatedLog("second.example", salt="second")
    second.grow(70)
    world.add("second", second)
    world.set("divergenceDetection.mirrorOrigins", f"[{MIRROR}]")
    return second


def mirror(world: World, *, salt: str = "", size: int = 40) -> SimulatedLog:
    """Add the mirror log; with no salt it copies the first log."""
    log = SimulatedLog(MIRROR, salt=salt)
    log.grow(size if salt else world.log.entries)
    world.add("mirror", log)
    return log


def alerts(world: World) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = world.cli("alerts", "list")["data"]["alerts"]
    return listed


def cross_log(world: World) -> list[tuple[str, str, int]]:
    return [
        (one["payload"]["primaryOrigin"], one["payload"]["mirrorOrigin"], one["count"])
        for one in alerts(world)
        if one["type"] == "CrossLogDivergence"
    ]


def problems(world: World) -> list[str]:
    """List the home's problems with mirror logs that check tells."""
    told = world.cli("sync-status")["data"]["home"]["problems"]
    return [one["text"] for one in told if one["kind"] == "mirror-log"]


def test_a_mirror_log_beside_two_logs_is_that_ones_whose_tree_it_has(world: World) -> None:
    two_logs(world)
    copy = mirror(world)
    world.sync()
    assert cross_log(world) == []
    assert problems(world) == []
    world.log.grow(5)
    copy.grow([b"another"] * 5)
    assert world.sync(expect=4)["error"]["reason"] == "cross-log-divergence"
    assert cross_log(world) == [("log.example", MIRROR, 1)]
    assert world.metrics()[COUNTED] == 1  # once a run, whichever of the two was asked


def test_a_mirror_log_of_neither_contradicts(world: World) -> None:
    two_logs(world)
    mirror(world, salt="third")
    assert world.sync(expect=4)["error"]["reason"] == "cross-log-divergence"
    [(primary, _, count)] = cross_log(world)
    assert (primary, count) == ("log.example", 1)
    [alert] = [one for one in alerts(world) if one["type"] == "CrossLogDivergence"]
    assert "log.example and second.example" in alert["payload"]["description"]


def test_which_log_it_copies_is_not_known_yet(world: World) -> None:
    """A log that never answered could be the one: that is told, and no accusation."""
    two_logs(world)
    world.serve("second", None)
    mirror(world, salt="third")
    warned = world.sync(expect=7)["warnings"]
    assert any("mirrorOrigins" in one and "not compared" in one for one in warned), warned
    assert cross_log(world) == []
    [said] = problems(world)
    assert MIRROR in said and "second.example" in said


@pytest.mark.parametrize("how", ["disable", "remove"])
def test_a_disabled_and_a_removed_log_are_no_candidates(world: World, how: str) -> None:
    two_logs(world)
    world.sync()
    world.cli("backend", how, "second")
    copy = mirror(world)
    world.sync()
    world.log.grow(5)
    copy.grow([b"another"] * 5)
    world.sync(expect=4)
    assert cross_log(world) == [("log.example", MIRROR, 1)]


def test_a_disabled_mirror_log_is_not_compared(world: World) -> None:
    world.log.grow(5)
    world.set("divergenceDetection.mirrorOrigins", f"[{MIRROR}]")
    mirror(world, salt="third", size=5)
    world.sync(expect=4)
    world.cli("backend", "disable", "mirror")
    world.sync()
    assert cross_log(world) == [("log.example", MIRROR, 1)]
    assert problems(world) == []


def test_an_origin_that_no_backend_has_is_told_by_check(world: World) -> None:
    world.log.grow(5)
    world.set("divergenceDetection.mirrorOrigins", f"[{MIRROR}]")
    world.sync(after=5 * MINUTE)
    [said] = problems(world)
    assert said == f"divergenceDetection.mirrorOrigins: {MIRROR} is not compared: no backend has it"
