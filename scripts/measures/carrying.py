"""P7: what carrying a log costs beside tar and sha256sum (scripts/bench-transfer says more)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from scripts.bench_transfer import Round, attestor, cached_outside, measure, measurements
from scripts.measures.shape import Bench, Value, scratch


def least(bench: Bench, name: str, of: str, target: float) -> float | None:
    """Return the ratio that is wanted: of wall time, in the short form of processor time."""
    if of == "cpu" and not bench.short:
        return None
    return bench.floor(target, SHORT.get(name))  # which has no import by two processes


def carrying(bench: Bench) -> Iterator[Value]:
    """P7: export and import."""
    n_tiles, jobs, rounds = (400, [1], 3) if bench.short else (20_000, [1, 2], 3)
    outside = cached_outside(bench.directory, n_tiles)
    work = scratch(bench, "carrying")
    bundle = work / "bundle.tar"
    attestor(outside, "export", "--full", "--output", str(bundle))
    costs = [
        measure(Round(work / f"round-{at}", outside, bundle, n_tiles), jobs) for at in range(rounds)
    ]
    for name, peer, target in measurements(jobs):
        if not peer:
            continue
        for of, note in (("cpu", f"CPU of {peer}"), ("wall", peer)):
            if bench.short and of == "wall":
                continue
            ratio = statistics.median(
                getattr(one[peer], of) / getattr(one[name], of) for one in costs
            )
            wanted = least(bench, name, of, target)
            yield Value(f"{name}, speed", ratio, "x", wanted, at_least=True, note=note)
        yield Value(f"{name}, peak", max(one[name].peak for one in costs), "MiB")


# A start weighs more than 400 tiles.
SHORT = {"attestor import --jobs 1": 0.1, "attestor export": 0.123}
