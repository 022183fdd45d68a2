"""Time passes in a run whose system clock is behind: every wait in it has an end."""

from __future__ import annotations

from pathlib import Path

from appliance.runs.clock import RunClock
from appliance.store.home.clock import SIGNED, Floor


def test_time_passes_below_the_floor(tmp_path: Path) -> None:
    system = 1_000
    clock = RunClock(tmp_path, lambda: system)
    clock.proven(Floor(50_000, "a test", SIGNED))
    assert clock() == 50_000
    system += 7
    assert clock() == 50_007
    system -= 100
    assert clock() == 50_000
    system = 60_000
    assert clock() == 60_000
    assert clock.behind is None
