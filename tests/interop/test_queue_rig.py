"""The queue before the real Rekor server, behind a proxy that misbehaves, drained by processes
that are killed: nothing lost, nothing done without a proof, no window over its budget.

    scripts/soak-queue      the whole of it: 10,000 items, 50 kills; prints the figures
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.rekor_server import rekor_server
from tests.rig.fault_proxy import FAULTS, fault_proxy
from tests.rig.queue_rig import QueueHome, Target, judge, stored_leaves
from tests.rig.replay import Limit

pytestmark = pytest.mark.interop

SOAK = os.environ.get("ATTESTOR_SOAK") == "1"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it."""

    items: int
    kills: int
    longest: float  # seconds that a drain runs before it is killed, at most
    deadline: float  # seconds
    window: int  # seconds
    most: int  # of a tenant in a window
    connections: int


SIZE = (
    Size(items=10_000, kills=50, longest=8.0, deadline=3600.0, window=60, most=1000, connections=32)
    if SOAK
    else Size(items=450, kills=10, longest=2.0, deadline=300.0, window=10, most=150, connections=16)
)


def test_nothing_is_lost_and_no_window_is_over_budget(tmp_path: Path) -> None:
    with (
        rekor_server(tmp_path / "server", checkpoint_interval="200ms") as server,
        fault_proxy(server.url, tmp_path / "record", seed=23, faults=FAULTS) as proxy,
    ):
        target = Target(server.origin, server.spki, server.public_key, server.read_url)
        per_hour = SIZE.most * 3600 // SIZE.window
        settings = {
            "rekor.budget.hourlyLimit": str(per_hour),
            "rekor.budget.burstLimit": str(per_hour),
            "rekor.budget.burstWindow": f"{SIZE.window}s",
            "rekor.retry.initialDelay": "100ms",
            "rekor.retry.maxDelay": "2s",
            "http.connections": str(SIZE.connections),
        }
        home = QueueHome(tmp_path / "home", target, proxy.url, settings)
        home.fill(SIZE.items)
        before = time.monotonic()
        started, killed = home.drain(
            kills=SIZE.kills, seed=24, longest=SIZE.longest, deadline=SIZE.deadline
        )
        seconds = time.monotonic() - before
        leaves = stored_leaves(server.storage)
        limits = [Limit(SIZE.window, SIZE.most), Limit(3600, per_hour)]
        figures = judge(home, proxy, leaves, limits, SIZE.items)
        figures.drains, figures.kills, figures.seconds = started, killed, seconds
    print(f"\n{figures}")  # noqa: T201 what scripts/soak-queue is for
    assert killed == SIZE.kills, "it was through before all kills were spent: run fewer"
    assert set(figures.faults) == {*FAULTS, "none"}
