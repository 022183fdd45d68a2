"""Peak memory: it follows neither how long a log is nor how large its entries are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts.measures.fetching import CONNECTIONS, MEMORY, DistinctLog
from scripts.measures.made_log import ORIGIN, MadeLog, served
from scripts.measures.shape import Bench, Cost, Value, attestor, run, scratch
from scripts.measures.verifying import CASES, verify

LEAVES = (100_000, 1_000_000, 10_000_000)
ENTRIES = {"600 B": 600, "16 KiB": 16 * 1024, "64 KiB": 64 * 1024 - 1}
FLAT = 1.25  # of the largest to the smallest; a page cache and an index are noise


def leaves(bench: Bench) -> Iterator[Value]:
    """Logs of 10^5, 10^6 and 10^7 leaves, tiles only."""
    if bench.short:
        return
    peaks: dict[str, dict[int, float]] = {}
    for size in LEAVES:
        for command, cost in _costs(bench, size):
            peaks.setdefault(command, {})[size] = cost.peak
            yield Value(f"{command}, {size:,} leaves", cost.peak, "MiB", MEMORY)
    for command, by_size in peaks.items():
        ratio = max(by_size.values()) / by_size[LEAVES[0]]
        yield Value(f"{command}, the most", ratio, "x", FLAT, note=f"that of {LEAVES[0]:,} leaves")


def _costs(bench: Bench, size: int) -> Iterator[tuple[str, Cost]]:
    home = scratch(bench, f"memory-{size}")
    with served(f"{-(-size // 256)}", module="fetching", name=DistinctLog.__name__) as url:
        run(attestor("--home", home, "init", "--site", "bench.example"))
        MadeLog.add_backend(home, url)
        run(attestor("--home", home, "config", "set", "http.connections", str(CONNECTIONS)))
        yield "sync", run(attestor("--home", home, "sync", "--full"))
    stick = home / "stick.tar"
    yield "export", run(attestor("--home", home, "export", "--full", "--output", stick))
    inside = _inside(bench, home, f"inside-{size}")
    yield "import", run(attestor("--home", inside, "import", stick))
    stick.unlink()
    yield "audit", run(attestor("--home", inside, "tiles", "verify", "--full"))
    yield "prove", run(attestor("--home", inside, "prove", "--origin", ORIGIN, "--index", "777"))
    if CASES.is_dir():
        case = "managed-key-happy-path"
        words = verify(case, "--key", str(CASES / case / "key.pub"))[2:]  # with this home
        yield "verify", run(attestor("--home", inside, *words))


def entries(bench: Bench) -> Iterator[Value]:
    """Entries of three sizes, in at least 40 bundles that are 64 MiB or more together."""
    for name, n_bytes in ENTRIES.items():
        n_bundles = max(64 * 1024 * 1024 // (256 * n_bytes), 40)
        if bench.short and name != "16 KiB":
            continue
        home = scratch(bench, f"entries-{n_bytes}")
        with served(f"{n_bundles * 256}, bytes({n_bytes})") as url:
            run(attestor("--home", home, "init", "--site", "bench.example"))
            MadeLog.add_backend(home, url)
            run(attestor("--home", home, "config", "set", "http.connections", str(CONNECTIONS)))
            cost = run(attestor("--home", home, "sync", "--full", "--entries"))
        what = f"{n_bundles} bundles of {name}"
        yield Value(f"sync --entries, {what}", cost.peak, "MiB", MEMORY)
        if bench.short:
            continue
        stick = home / "stick.tar"
        words = ("export", "--full", "--include-entries", "--output", stick)
        yield Value(f"export, {what}", run(attestor("--home", home, *words)).peak, "MiB", MEMORY)
        inside = _inside(bench, home, f"inside-{n_bytes}")
        for command, arguments in (
            ("import", ("import", stick)),
            ("audit", ("tiles", "verify", "--full")),
            ("prove", ("prove", "--origin", ORIGIN, "--index", "777")),
        ):
            cost = run(attestor("--home", inside, *arguments))
            yield Value(f"{command}, {what}", cost.peak, "MiB", MEMORY)


def _inside(bench: Bench, home: Path, name: str) -> Path:
    """Return a home on the far side that takes what `home` exports."""
    inside = scratch(bench, name)
    run(attestor("--home", inside, "init", "--site", "inside.example", "--role", "isolated"))
    MadeLog.add_backend(inside)
    key = run(attestor("--home", home, "key", "show", "bench.example")).output.decode().strip()
    run(attestor("--home", inside, "exporters", "add", key))
    return inside
