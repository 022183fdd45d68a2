"""The measurements that scripts/bench-queue prints; everything runs through the command line."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from appliance.store.database import open_store  # noqa: E402
from scripts.measures.shape import ATTESTOR, ENVIRONMENT  # noqa: E402
from tests.queue.queues import add  # noqa: E402
from tests.queue.signed_files import write_artifact  # noqa: E402
from tests.serve.running_log import RunningLog, running_log  # noqa: E402

SETTINGS = {"rekor.budget.hourlyLimit": "1000000", "rekor.budget.burstLimit": "6000000"}
STARTS = 7


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1000)
    items = parser.parse_args().items
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        run(directory / "log", "init", "--site", "host.example")
        created = run(directory / "log", "log", "create", "build", "--origin", "log.example")
        with running_log(directory / "log") as log:
            home = new_home(directory, log, created["vkey"])
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
            print(f"queue add: {add_ratio(directory, home):.1f} times python -c pass (wanted: 14)")
            rate, cpu = drain_rate(home, items)
            print(f"queue drain: {rate:.0f} items/s of {items}, start included (wanted: 200)")
            print(f"             {1000 * cpu:.1f} ms of processor time each, without the log's")


def new_home(directory: Path, log: RunningLog, vkey: str) -> Path:
    """Make a home that knows the log, with a budget that does not matter."""
    home, key = directory / "home", directory / "log.vkey"
    key.write_text(vkey)
    run(home, "init", "--site", "build.example")
    pinned = ("--origin", "log.example", "--public-key", str(key), "--url", log.url)
    run(home, "backend", "add", "server", *pinned)
    for setting, value in {"rekor.serverUrl": log.url, **SETTINGS}.items():
        run(home, "config", "set", setting, value)
    return home


def add_ratio(directory: Path, home: Path) -> float:
    """Return how many times an empty Python a queue add takes, interleaved."""
    ours, empty = [], []
    for number in range(STARTS + 1):  # the first one warms the caches
        options = write_artifact(directory / "in", f"bench {number}".encode())
        empty.append(seconds([sys.executable, "-c", "pass"]))
        ours.append(seconds([*ATTESTOR, "--home", str(home), "queue", "add", *options]))
    return statistics.median(ours[1:]) / statistics.median(empty[1:])


def drain_rate(home: Path, items: int) -> tuple[float, float]:
    """Queue so many items, and drain.

    Returns how many a second are logged and proven, and the seconds of processor time each.
    """
    store = open_store(home, write=True)
    for number in range(items):
        add(store, f"item {number}".encode(), now=int(time.time()))
    store.close()
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    drained = run(home, "queue", "drain")
    taken, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if drained["waiting"] or drained["logged"] < items:
        raise SystemExit(f"not everything was logged: {drained}")
    return drained["logged"] / taken, cpu / drained["logged"]


def run(home: Path, *command: str) -> Any:
    """Run one command with --json and return its data."""
    done = subprocess.run(
        [*ATTESTOR, "--home", str(home), *command, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(done.stdout)["data"]


def seconds(command: Sequence[str]) -> float:
    """Run a command; return how long it took."""
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, env=ENVIRONMENT)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
