"""P12: the queue (scripts/bench-queue says the same with more items)."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.bench_queue import add_ratio, drain_rate, new_home
from scripts.bench_queue import run as ask
from scripts.measures.shape import Bench, Value, calibration, scratch
from tests.serve.running_log import running_log


def queueing(bench: Bench) -> Iterator[Value]:
    """P12: adding and draining."""
    items = 100 if bench.short else 1000
    directory = scratch(bench, "queue")
    ask(directory / "log", "init", "--site", "host.example")
    created = ask(directory / "log", "log", "create", "build", "--origin", "log.example")
    with running_log(directory / "log") as log:
        home = new_home(directory, log, created["vkey"])
        if not bench.short:
            note = "wall of python -c pass"
            yield Value("queue add", add_ratio(directory, home), "x", 14.0, note=note)
        rate, spent = drain_rate(home, items)
    yield Value("queue drain", rate, "items/s", bench.floor(200), at_least=True)
    yield Value("queue drain, CPU an item", spent * 1e3, "ms")
    if bench.short:
        ratio = spent / calibration()
        yield Value("queue drain, CPU an item", ratio, "calibrations", bench.bound(0, 0.28))
