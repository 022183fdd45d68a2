"""Time that passes when somebody sleeps, and a little with every look."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from random import Random

from appliance.runs.session import Session

# What the log beside it writes has the machine's time, and no home's clock goes below that.
START = int(time.time())


class SimulatedClock:
    """Wall clock, uptime and monotonic clock of one machine, all from one number."""

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._start = start
        self._lock = threading.Lock()

    def seconds(self) -> float:
        """Unix seconds, with fractions."""
        with self._lock:
            self._now += 0.001
            return self._now

    def now(self) -> int:
        return int(self.seconds())

    def monotonic(self) -> float:
        return self.seconds() - self._start

    def uptime(self) -> tuple[str, int]:
        return "simulated", int(self.monotonic())

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now += max(seconds, 0.0)

    def app(self, home: Path, seed: int = 0) -> Session:
        """The world of a command that runs on this clock."""
        return Session(
            home=home,
            now=self.now,
            monotonic=self.monotonic,
            sleep=self.sleep,
            uptime=self.uptime,
            random_bytes=Random(seed).randbytes,  # noqa: S311 a test's dice
        )
