"""P5: a sync that verifies and stores, beside programs that fetch and do less."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.note import sign_note
from appliance.tlog.tile import Tile, parse_tile_path, tiles_of
from scripts.bench_transfer import leaf_tile, tile_data, tree_head, upper_levels
from scripts.measures.made_log import KEY, ORIGIN, MadeLog, served
from scripts.measures.shape import (
    Bench,
    Cost,
    Value,
    attestor,
    calibration,
    cpu,
    in_turns,
    run,
    scratch,
    skipped,
    wall,
)

LATENCY = 0.03  # seconds before each answer
CONNECTIONS = 32
MEMORY = 150.0  # MiB that a command may take, whatever the size of entries
ENTRIES = {"600 B": 600, "16 KiB": 16 * 1024, "64 KiB": 64 * 1024 - 1}


class DistinctLog:
    """A log whose level 0 tiles differ, so that each is written."""

    def __init__(self, n_tiles: int) -> None:
        self.size = n_tiles * 256
        self.levels = upper_levels(n_tiles)
        self.leaves = {Tile(0, at).path: leaf_tile(at) for at in range(n_tiles)}
        head = tree_head(self.levels, self.size)
        self.note = sign_note(str(Checkpoint(ORIGIN, head)), [KEY])

    def answer(self, path: str) -> bytes | None:
        """Return what a server of it answers."""
        if path == "checkpoint":
            return self.note
        return self.leaves.get(path) or tile_data(self.levels, parse_tile_path(path))


def fetching(bench: Bench) -> Iterator[Value]:
    """P5: tiles over 30 ms of latency and 32 connections."""
    n_tiles, rounds = (600, 1) if bench.short else (5000, 3)
    work = scratch(bench, "fetching")
    log = f"{n_tiles}"
    with served(log, latency=LATENCY, module="fetching", name="DistinctLog") as url:
        urls = [url + tile.path for tile in tiles_of(n_tiles * 256)]
        (work / "urls").write_text("".join(f"{one}\n" for one in urls))
        turn = iter(range(1000))

        def ours() -> Cost:
            home = work / f"home-{next(turn)}"
            run(attestor("--home", home, "init", "--site", "bench.example"))
            MadeLog.add_backend(home, url)
            run(attestor("--home", home, "config", "set", "http.connections", str(CONNECTIONS)))
            return run(attestor("--home", home, "sync", "--full"))

        def curl() -> Cost:
            place = work / f"curl-{next(turn)}"
            place.mkdir()
            lines = (f'url = "{one}"\noutput = "{place}/{at}"\n' for at, one in enumerate(urls))
            (place / "config").write_text("".join(lines))
            words = [bench.peers["curl"], "--silent", "--parallel", "--parallel-max"]
            return run([*words, str(CONNECTIONS), "--config", place / "config"])

        commands = {"ours": ours}
        if not bench.short and "curl" in bench.peers:
            commands["curl"] = curl
        if not bench.short and (peer := bench.peers.get("bench-peer")):
            theirs = ["sh", "-c", f"exec {peer} fetch {CONNECTIONS} < {work / 'urls'}"]
            commands["go"] = partial(run, theirs)
        costs = in_turns(rounds, commands)
    start = min(run(attestor("--home", work / "home-0", "status")).cpu for _ in range(2))
    each = (cpu(costs["ours"]) - start) / n_tiles
    yield Value("sync, CPU a tile", each * 1e3, "ms", bench.bound(0.6))
    if bench.short:
        yield Value("sync, CPU a tile", each / calibration(), "calibrations", bench.bound(0, 0.07))
    for peer, target, name in (("go", 0.93, "Go, fetch and discard"), ("curl", 1.0, "curl")):
        if peer in costs:
            ratio = wall(costs[peer]) / wall(costs["ours"])
            yield Value("sync, tiles a second", ratio, "x", target, at_least=True, note=name)
        elif not bench.short:
            yield skipped(f"sync beside {name}", "it cannot be had here")


def entries(bench: Bench) -> Iterator[Value]:
    """P5: the memory of what handles entries does not follow their size."""
    for name, n_bytes in ENTRIES.items():
        n_bundles = max(64 * 1024 * 1024 // (256 * n_bytes), 40)
        if bench.short and name != "16 KiB":
            continue
        arguments = f"{n_bundles * 256}, bytes({n_bytes})"
        home = scratch(bench, f"entries-{n_bytes}")
        with served(arguments) as url:
            run(attestor("--home", home, "init", "--site", "bench.example"))
            MadeLog.add_backend(home, url)
            run(attestor("--home", home, "config", "set", "http.connections", str(CONNECTIONS)))
            cost = run(attestor("--home", home, "sync", "--full", "--entries"))
        what = f"peak, {n_bundles} bundles of {name}"
        yield Value(f"sync --entries, {what}", cost.peak, "MiB", MEMORY)
        if bench.short:
            continue
        stick, inside = home / "stick.tar", scratch(bench, f"inside-{n_bytes}")
        words = ("export", "--full", "--include-entries", "--output", stick)
        cost = run(attestor("--home", home, *words))
        yield Value(f"export, {what}", cost.peak, "MiB", MEMORY)
        run(attestor("--home", inside, "init", "--site", "inside.example", "--role", "isolated"))
        MadeLog.add_backend(inside)
        key = run(attestor("--home", home, "key", "show", "bench.example")).output.decode().strip()
        run(attestor("--home", inside, "exporters", "add", key))
        cost = run(attestor("--home", inside, "import", stick))
        yield Value(f"import, {what}", cost.peak, "MiB", MEMORY)
        cost = run(attestor("--home", inside, "tiles", "verify", "--full"))
        yield Value(f"audit, {what}", cost.peak, "MiB", MEMORY)
        index = ("prove", "--origin", ORIGIN, "--index", "777")
        cost = run(attestor("--home", inside, *index))
        yield Value(f"prove, {what}", cost.peak, "MiB", MEMORY)
