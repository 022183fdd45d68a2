"""P5: a sync that verifies and stores, beside programs that fetch and do less."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.note import sign_note
from appliance.tlog.tile import EntryBundle, Tile, parse_tile_path, tiles_of
from scripts.bench_transfer import leaf_tile, tile_data, tree_head, upper_levels
from scripts.measures.made_log import KEY, ORIGIN, MadeLog, listening, served
from scripts.measures.shape import (
    ENVIRONMENT,
    Bench,
    Cost,
    Value,
    attestor,
    calibration,
    cpu,
    data,
    in_turns,
    run,
    scratch,
    skipped,
    wall,
)

LATENCY = 0.03  # seconds before each answer
CONNECTIONS = 32
MEMORY = 150.0  # MiB that a command may take, whatever the size of log and entries
ENTRY_BYTES = 600  # of the shard that is fetched
KILLS = 5


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


@contextmanager
def shard(bench: Bench, n_leaves: int) -> Iterator[str]:
    """Serve a log of distinct entries over that latency; the Go peer does, where it can be had."""
    if peer := bench.peers.get("bench-peer"):
        seed = bytes(range(32)).hex()
        words = [peer, "serve", str(n_leaves), str(int(LATENCY * 1000)), str(ENTRY_BYTES)]
        with listening([*words, ORIGIN, seed]) as url:
            yield url
    else:
        arguments = f"{n_leaves // 256}"
        with served(arguments, latency=LATENCY, module="fetching", name="DistinctLog") as url:
            yield url


def new_home(work: Path, name: str, url: str) -> Path:
    """Return a home that may follow the log there, and has not yet."""
    home = work / name
    run(attestor("--home", home, "init", "--site", "bench.example"))
    MadeLog.add_backend(home, url)
    run(attestor("--home", home, "config", "set", "http.connections", str(CONNECTIONS)))
    return home


def fetching(bench: Bench) -> Iterator[Value]:
    """P5: tiles over 30 ms of latency and 32 connections."""
    n_tiles, rounds = (600, 1) if bench.short else (5000, 3)
    if bench.leaves:
        n_tiles, rounds = bench.leaves // 256, 2
    with shard(bench, n_tiles * 256) as url:
        yield from _fetched(bench, url, n_tiles, rounds)
        if "bench-peer" in bench.peers:
            yield from _fetched(bench, url, n_tiles, 1, "--entries")
            yield from _interrupted(bench, url, n_tiles)


def _fetched(bench: Bench, url: str, n_tiles: int, rounds: int, *options: str) -> Iterator[Value]:
    """Measure a whole sync, beside programs that fetch the same URLs."""
    work = scratch(bench, "fetching")
    places: list[Tile | EntryBundle] = [*tiles_of(n_tiles * 256)]
    if options:
        places += [EntryBundle(at) for at in range(n_tiles)]
    what = "sync --entries" if options else "sync"
    urls = [url + one.path for one in places]
    (work / "urls").write_text("".join(f"{one}\n" for one in urls))
    turn = iter(range(1000))

    def ours() -> Cost:
        home = new_home(work, f"home-{next(turn)}", url)
        return run(attestor("--home", home, "sync", "--full", *options))

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
    each = (cpu(costs["ours"]) - start) / len(urls)
    note = f"{len(urls):,} files"
    bound = None if options else bench.bound(0.6)
    yield Value(f"{what}, CPU a file", each * 1e3, "ms", bound, note=note)
    if bench.short:
        yield Value("sync, CPU a tile", each / calibration(), "calibrations", bench.bound(0, 0.056))
    for peer, target, name in (("go", 0.93, "Go, fetch and discard"), ("curl", 1.0, "curl")):
        if peer in costs:
            rate = len(urls) / wall(costs["ours"])
            ratio = wall(costs[peer]) / wall(costs["ours"])
            note = f"{name}; {rate:,.0f} a second"
            yield Value(f"{what}, files a second", ratio, "x", target, at_least=True, note=note)
        elif not bench.short:
            yield skipped(f"{what} beside {name}", "it cannot be had here")
    yield Value(f"{what}, peak", max(one.peak for one in costs["ours"]), "MiB", MEMORY)


def _interrupted(bench: Bench, url: str, n_tiles: int) -> Iterator[Value]:
    """Kill a sync of everything again and again; what the next run asks for again is counted."""
    home = new_home(scratch(bench, "interrupted"), "home", url)
    words = attestor("--home", home, "sync", "--full", "--entries")
    chance, seconds = random.Random(13), n_tiles * LATENCY / CONNECTIONS  # noqa: S311 repeatable
    lost = [0]
    asked, stored = _asked(url), 0
    for _ in range(KILLS):
        child = subprocess.Popen(
            words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(1 + chance.uniform(0, 1.5 * seconds / KILLS))
        child.kill()
        child.wait()
        time.sleep(4 * LATENCY)  # what was on its way is counted by then
        [log] = data("--home", home, "tiles", "stats")["backends"]
        was_asked, was_stored = asked, stored
        asked, stored = _asked(url), log["tiles"] + log["entryBundles"]
        lost.append(asked - was_asked - (stored - was_stored))
    note = f"most of {KILLS} kills -9; {sum(lost):,} in all"
    yield Value("sync --entries, killed: files asked for again", max(lost), "files", 512, note=note)
    run(words)
    run(attestor("--home", home, "tiles", "verify", "--full"))
    [log] = data("--home", home, "tiles", "stats")["backends"]
    again = _asked(url) - asked - (log["tiles"] + log["entryBundles"] - stored)
    note = f"after {KILLS} kills -9; the audit finds all of it whole"
    yield Value("the run after them, files asked for in vain", again, "files", 0, note=note)


def _asked(url: str) -> int:
    """Return how many tiles and entry bundles the peer was asked for by now."""
    with urlopen(f"{url}counts") as answer:  # noqa: S310 our own server
        return int(answer.read().split()[0])
