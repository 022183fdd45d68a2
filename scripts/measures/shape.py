"""The one shape of every measure: values with units and bounds, taken in one interleaved run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
# As the installed command starts: `-m` would import runpy first. -P: nothing of where we are.
ATTESTOR = [
    *(PYTHON, "-P", "-c"),
    "import sys; from appliance.cli.start import main; sys.argv[0] = 'attestor'; sys.exit(main())",
]
# Every start would compile the program anew; a user's does not.
ENVIRONMENT = {
    **{name: one for name, one in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPATH": str(ROOT),
}


@dataclass(frozen=True)
class Value:
    """One measured value beside what is wanted of it."""

    what: str
    value: float | None  # None: it could not be measured
    unit: str
    target: float | None = None  # None: for comparison only
    at_least: bool = False  # what `target` is; else at most
    note: str = ""  # the peer, or why there is no value

    @property
    def verdict(self) -> str:
        """met, missed, skipped (not measured) or - (nothing is wanted of it)."""
        if self.value is None:
            return "skipped"
        if self.target is None:
            return "-"
        is_met = self.value >= self.target if self.at_least else self.value <= self.target
        return "met" if is_met else "missed"

    def line(self) -> str:
        """Return one line for people."""
        shown = "-" if self.value is None else f"{self.value:,.3g} {self.unit}".strip()
        bound = ""
        if self.target is not None:
            bound = f"{'>=' if self.at_least else '<='} {self.target:,g}"
        note = f"  ({self.note})" if self.note else ""
        return f"  {self.what:52} {shown:>22} {bound:>12}  {self.verdict}{note}"


def skipped(what: str, why: str) -> Value:
    """Return a value that could not be had."""
    return Value(what, None, "", note=why)


@dataclass(frozen=True)
class Cost:
    """What one process took, with those it waited for."""

    wall: float  # seconds
    cpu: float  # seconds, user and system
    peak: float  # MiB of the largest
    output: bytes


@dataclass(frozen=True)
class Bench:
    """How much is measured, and where there is room for it."""

    directory: Path  # what is kept for the next run, and scratch
    short: bool  # in a minute, against processor time, with room for noise
    peers: Mapping[str, str] = field(default_factory=dict)  # program: where it is
    slack: float = 1.0  # what a bound is multiplied with
    leaves: int | None = None  # of the log, where a subject lets it be chosen
    before: Path | None = None  # an earlier revision of this program, laid out

    def bound(self, full: float, short: float | None = None) -> float | None:
        """Return the target; of the short form its own, with room for noise."""
        if not self.short:
            return full
        return None if short is None else short * self.slack

    def floor(self, full: float, short: float | None = None) -> float | None:
        """Return the least that is wanted, as bound does."""
        if not self.short:
            return full
        return None if short is None else short / self.slack


def attestor(*words: str | Path) -> list[str]:
    """Return our command line."""
    return [*ATTESTOR, *map(str, words)]


# A process begins with the peak of who started it, so a small one does; and it tells.
_WATCHER = """
import os, sys, time
started, words = time.monotonic(), sys.argv[2:]
child = os.posix_spawnp(words[0], words, os.environ)
_, status, used = os.wait4(child, 0)
spent = used.ru_utime + used.ru_stime
told = f"{time.monotonic() - started} {spent} {used.ru_maxrss / 1024}"
os.write(int(sys.argv[1]), told.encode())
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""


def run(
    command: Sequence[str | Path], *, good: Sequence[int] = (0,), cwd: Path | None = None
) -> Cost:
    """Run a command once; ends ours if its exit code is none of the good ones."""
    words = [str(word) for word in command]
    reading, writing = os.pipe()
    with os.fdopen(reading) as told:
        done = subprocess.run(
            [PYTHON, "-I", "-S", "-c", _WATCHER, str(writing), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            cwd=cwd,
            pass_fds=[writing],
            check=False,
        )
        os.close(writing)
        wall, cpu, peak = map(float, told.read().split())
    output = done.stdout
    if done.returncode not in good:
        said = output.decode(errors="replace")[-600:]
        raise SystemExit(f"bench: {' '.join(words)[-300:]}: exit {done.returncode}: {said}")
    return Cost(wall, cpu, peak, output)


def data(*words: str | Path) -> Any:
    """Run our command with --json and return its data."""
    return json.loads(run(attestor(*words, "--json")).output)["data"]


def in_turns(rounds: int, commands: Mapping[str, Callable[[], Cost]]) -> dict[str, list[Cost]]:
    """Run each in turn, so often, so that what else the machine does falls on all alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(rounds):
        names = list(commands) if turn % 2 == 0 else list(commands)[::-1]
        for name in names:
            costs[name].append(commands[name]())
    return costs


def cpu(costs: Sequence[Cost]) -> float:
    """Return the least processor seconds: noise only ever adds."""
    return min(one.cpu for one in costs)


def wall(costs: Sequence[Cost]) -> float:
    """Return the median of wall seconds."""
    return statistics.median(one.wall for one in costs)


def calibration() -> float:
    """Return the processor seconds of 20,000 hashes here and now: what others are measured by."""
    return min(_hashing() for _ in range(3))


def _hashing() -> float:
    started = time.process_time()
    for number in range(20_000):
        sha256(b"%d" % number).hexdigest()
    return time.process_time() - started


def scratch(bench: Bench, name: str) -> Path:
    """Return an empty directory of this run's."""
    return Path(mkdtemp(prefix=f"{name}-", dir=bench.directory))
