"""The measurements that scripts/bench-transfer prints: ratios of one run, and what ran beside it.

Every command works in directories of its own, which stay until the end: creating files is
slow for minutes after many were deleted. What is not flushed yet is flushed before each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from appliance.store.database import open_store  # noqa: E402
from appliance.store.mirror.checkpoints import Arrival  # noqa: E402
from appliance.store.mirror.logs import find_log  # noqa: E402
from appliance.store.mirror.mirror import Mirror  # noqa: E402
from appliance.store.schema import MIGRATIONS, migration_sql  # noqa: E402
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint  # noqa: E402
from appliance.tlog.merkle import TreeHead, fold_peaks, perfect_root  # noqa: E402
from appliance.tlog.note import SigningKey, sign_note  # noqa: E402
from appliance.tlog.tile import WIDTH, Tile, edge_tiles, tiles_of  # noqa: E402
from appliance.tlog.tile_tree import TileTree  # noqa: E402
from scripts.measures.shape import ATTESTOR, ENVIRONMENT, Cost  # noqa: E402
from scripts.measures.shape import run as run_once  # noqa: E402

ORIGIN = "bulk.example/log"
LOG_KEY = SigningKey(ORIGIN, bytes(range(32)))
OUTSIDE, INSIDE = "outside.example", "inside.example"
BATCH_TILES = 2048


# --- a large log, made once


def leaf_tile(index: int) -> bytes:
    """Return a level 0 tile of random hashes, the same every time."""
    return random.Random(index).randbytes(32 * WIDTH)  # noqa: S311 nothing secret


def leaf_roots(indices: range) -> list[bytes]:
    return [perfect_root(leaf_tile(index)) for index in indices]


def upper_levels(n_tiles: int) -> list[bytes]:
    """Return the hashes of level 1 and above: real parents of the level 0 tiles."""
    chunks = [range(at, min(at + 512, n_tiles)) for at in range(0, n_tiles, 512)]
    with ProcessPoolExecutor() as pool:
        levels = [b"".join(root for roots in pool.map(leaf_roots, chunks) for root in roots)]
    while full := len(levels[-1]) // 32 // WIDTH:
        size = 32 * WIDTH
        levels.append(
            b"".join(perfect_root(levels[-1][at * size : (at + 1) * size]) for at in range(full))
        )
    return levels


def tile_data(levels: Sequence[bytes], tile: Tile) -> bytes:
    if tile.level == 0:
        return leaf_tile(tile.index)
    start = tile.index * WIDTH * 32
    return levels[tile.level - 1][start : start + tile.width * 32]


def tree_head(levels: Sequence[bytes], tree_size: int) -> TreeHead:
    peaks = []
    for tile in edge_tiles(tree_size):
        data, start = tile_data(levels, tile), 0
        for bit in reversed(range(tile.width.bit_length())):
            if tile.width >> bit & 1:
                peaks.append(perfect_root(data[start : start + (32 << bit)]))
                start += 32 << bit
    return TreeHead(tree_size, fold_peaks(peaks))


def make_outside(home: Path, n_tiles: int) -> None:
    """Make the home of a site that mirrors a log of so many level 0 tiles."""
    make_site(home, OUTSIDE, "connected", "--url", "http://bulk.invalid/")
    levels = upper_levels(n_tiles)
    head = tree_head(levels, n_tiles * WIDTH)
    note = sign_note(str(Checkpoint(ORIGIN, head)), [LOG_KEY])
    store = open_store(home, write=True)
    log = find_log(store, ORIGIN)
    assert log is not None
    mirror = Mirror(store, log)
    checkpoint = open_checkpoint(note, log.keys, ORIGIN)
    edge = {tile: tile_data(levels, tile) for tile in edge_tiles(head.tree_size)}
    tree = TileTree(head)
    tree.add_edge(edge)  # the log is real: whoever reads it finds its root
    rest = (tile for tile in tiles_of(head.tree_size) if tile.is_full)
    while batch := list(islice(rest, BATCH_TILES)):
        mirror.add({tile: tile_data(levels, tile) for tile in batch}, {})
    mirror.accept(checkpoint, Arrival("direct", "made by bench-transfer", int(time.time())), edge)
    store.close()


def make_site(home: Path, site: str, role: str, *url: str) -> None:
    attestor(home, "init", "--site", site, "--role", role)
    key = home / "bulk.pub"
    key.write_text(LOG_KEY.verifier.vkey + "\n")
    attestor(home, "backend", "add", "bulk", "--origin", ORIGIN, "--public-key", str(key), *url)


def attestor(home: Path, *words: str) -> str:
    done = subprocess.run(
        [*ATTESTOR, "--home", str(home), *words],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    if done.returncode:
        raise SystemExit(f"bench-transfer: attestor {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def cached_outside(directory: Path, n_tiles: int) -> Path:
    """Return the home of that site; made again for another schema."""
    schema = hashlib.sha256("".join(map(migration_sql, MIGRATIONS)).encode()).hexdigest()[:8]
    home = directory / f"outside-{n_tiles}-{schema}"
    if not (home / "whole").exists():
        shutil.rmtree(home, ignore_errors=True)
        print(f"making a log of {n_tiles:,} level 0 tiles in {home}, once", file=sys.stderr)
        home.parent.mkdir(parents=True, exist_ok=True)
        make_outside(home, n_tiles)
        (home / "whole").touch()
    return home


# --- measuring


def run(*commands: Sequence[str | Path], cwd: Path) -> Cost:
    """Run commands one after the other and add up what they cost."""
    os.sync()
    costs = [run_once(command, cwd=cwd) for command in commands]
    return Cost(
        sum(one.wall for one in costs),
        sum(one.cpu for one in costs),
        max(one.peak for one in costs),
        costs[-1].output,
    )


class Round:
    """One round in directories of its own."""

    def __init__(self, directory: Path, outside: Path, bundle: Path, n_tiles: int) -> None:
        self.directory = directory
        self.outside = outside
        self.bundle = bundle
        self.n_tiles = n_tiles
        directory.mkdir()

    def unpack(self) -> Cost:
        place = self.directory / "unpacked"
        place.mkdir()
        return run(
            ["tar", "-xf", self.bundle, "-C", place],
            ["sh", "-c", f"cd '{place}' && sha256sum --quiet -c SHA256SUMS"],
            cwd=self.directory,
        )

    def pack(self) -> Cost:
        packed = self.directory / "packed.tar"
        unpacked = self.directory / "unpacked"
        return run(
            ["tar", "-cf", packed, "-C", unpacked, "."], ["sha256sum", packed], cwd=self.directory
        )

    def export(self) -> Cost:
        made = self.directory / "exported.tar"
        words = ["--home", str(self.outside), "export", "--full", "--output", str(made)]
        return run([*ATTESTOR, *words], cwd=self.directory)

    def import_(self, jobs: int) -> Cost:
        home = self.directory / f"inside-{jobs}"
        make_site(home, INSIDE, "isolated")
        attestor(home, "exporters", "add", attestor(self.outside, "key", "show", OUTSIDE).strip())
        more = ["--jobs", str(jobs)] if jobs > 1 else []
        cost = run(
            [*ATTESTOR, "--home", str(home), "import", self.bundle, *more], cwd=self.directory
        )
        self.check(home)
        return cost

    def check(self, home: Path) -> None:
        """Fast for nothing would be easy: everything has to be there."""
        [log] = json.loads(attestor(home, "tiles", "stats", "--json"))["data"]["backends"]
        if log["coverage"]["percent"] != 100 or log["tiles"] < self.n_tiles:
            raise SystemExit(f"bench-transfer: not all was imported: {log}")


def measurements(jobs: Sequence[int]) -> Iterator[tuple[str, str, float]]:
    """Yield name, what it is compared with, and the slowest speed that is good enough."""
    yield "tar -x, sha256sum -c", "", 0
    for number in jobs:
        target = 0.25 if number == 1 else 0.4
        yield f"attestor import --jobs {number}", "tar -x, sha256sum -c", target
    yield "tar -c, sha256sum", "", 0
    yield "attestor export", "tar -c, sha256sum", 0.65


def measure(one: Round, jobs: Sequence[int]) -> dict[str, Cost]:
    costs = {"tar -x, sha256sum -c": one.unpack()}
    for number in jobs:
        costs[f"attestor import --jobs {number}"] = one.import_(number)
    costs["tar -c, sha256sum"] = one.pack()
    costs["attestor export"] = one.export()
    return costs


def report(rounds: Sequence[dict[str, Cost]], jobs: Sequence[int]) -> None:
    print(f"\n{'':24} {'seconds':>8} {'cpu':>7} {'MiB':>6}  speed (of each round)")
    for name, peer, target in measurements(jobs):
        wall, cpu = (
            statistics.median(getattr(one[name], what) for one in rounds)
            for what in ("wall", "cpu")
        )
        peak = max(one[name].peak for one in rounds)
        line = f"{name:24} {wall:8.2f} {cpu:7.2f} {peak:6.0f}"
        if peer:
            speeds = [one[peer].wall / one[name].wall for one in rounds]
            each = " ".join(f"{speed:.2f}" for speed in speeds)
            spent = statistics.median(one[peer].cpu / one[name].cpu for one in rounds)
            line += f"  {statistics.median(speeds):.2f}x of {peer} ({each}); wanted: {target}x"
            line += f"; by processor time {spent:.2f}x"
        print(line)


def load() -> str:
    return Path("/proc/loadavg").read_text().split()[0]


def filesystem(directory: Path) -> str:
    words = ["findmnt", "-no", "FSTYPE,SOURCE", "--target", str(directory)]
    return " ".join(
        subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench-transfer")
    parser.add_argument("directory", type=Path, help="keeps the log that is carried")
    parser.add_argument("--tiles", type=int, default=100_000, help="at level 0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--keep", action="store_true", help="keep what the rounds left")
    chosen = parser.parse_args()
    directory = chosen.directory.resolve()
    outside = cached_outside(directory, chosen.tiles)
    work = directory / f"run-{os.getpid()}"
    work.mkdir()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, {filesystem(directory)}")
    print(f"load {load()} before")
    try:
        bundle = work / "bundle.tar"
        attestor(outside, "export", "--full", "--output", str(bundle))
        print(f"{chosen.tiles:,} level 0 tiles, {bundle.stat().st_size:,} bytes", flush=True)
        costs = []
        for number in range(chosen.rounds):
            one = Round(work / f"round-{number}", outside, bundle, chosen.tiles)
            costs.append(measure(one, chosen.jobs))
            print(f"round {number + 1} of {chosen.rounds}, load {load()}", flush=True)
        report(costs, chosen.jobs)
    finally:
        if not chosen.keep:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
