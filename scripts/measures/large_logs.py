"""P4, P6, P8, P9, P11: what a large log costs, audited, kept, proven from, and grown."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from appliance.jobs.mirror.prove import prove_inclusion
from appliance.store.database import open_store
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.tile import tiles_of
from scripts.measures.made_log import ORIGIN, MadeLog, served
from scripts.measures.shape import (
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
    wall,
)
from tests.signed_artifacts import SIGNER_PEM, sign_request

SMALL, LARGE, PUBLIC = 100_000, 10_000_000, 140_000_000  # leaves; PUBLIC: as of October 2026
APPENDED = 5_000
A_DAY = 15 * 86_400  # entries, as the public log grew in October 2026
ARTIFACT = b"what was signed and logged\n"


def home_of(bench: Bench, size: int, url: str = "http://127.0.0.1:1/") -> Path:
    """Return a new home that mirrors a log of so many leaves."""
    home = scratch(bench, f"home-{size}")
    MadeLog(size).store(home, url)
    return home


def files_of(bench: Bench, size: int) -> Path:
    """Return a tlog-tiles directory of that log, each tile a link to the few that differ."""
    directory = bench.directory / f"files-{size}"
    if (directory / "root").exists():
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    log, known = MadeLog(size), dict[tuple[int, int], Path]()
    for tile in tiles_of(size):
        path = directory / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        first = known.setdefault((tile.level, tile.width), path)
        if first == path:
            path.write_bytes(log.tile(tile))
        else:
            path.symlink_to(first)
    (directory / "root").write_text(log.head.root_hash.hex())
    return directory


def audit(bench: Bench) -> Iterator[Value]:
    """P4: an audit from blobs."""
    size = 2_000_000 if bench.short else LARGE
    home = home_of(bench, size)
    words = ("--home", home, "tiles", "verify", "--full")
    peer = bench.peers.get("bench-peer")
    turns = {jobs: partial(run, attestor(*words, "--jobs", str(jobs))) for jobs in (1, 2)}
    if bench.short or peer is None:
        cost = min((turns[1]() for _ in range(3 if bench.short else 1)), key=lambda one: one.cpu)
        ratio = cost.cpu / size / calibration() * 1e6
        yield Value("audit, a leaf", ratio, "calibrations/1e6", bench.bound(76.0, 60.0))
        yield Value("audit, peak", cost.peak, "MiB", 40.0)
        return
    files = files_of(bench, size)
    listed = bench.directory / "files.list"
    names = sorted((files / "tile" / "0").rglob("*"), key=lambda path: str(path).replace(".p", "~"))
    listed.write_text("".join(f"{path}\n" for path in names if path.is_file()))
    theirs = ["sh", "-c", f"exec {peer} root {size} < {listed}"]
    costs = in_turns(3, {"1": turns[1], "2": turns[2], "go": partial(run, theirs)})
    go = "Go compact range, wall"
    yield Value("audit, one process", wall(costs["1"]) / wall(costs["go"]), "x", 1.6, note=go)
    yield Value("audit, --jobs 2", wall(costs["2"]) / wall(costs["go"]), "x", 1.0, note=go)
    yield Value("audit, one process", cpu(costs["1"]) / cpu(costs["go"]), "x", note="CPU")
    yield Value("audit, peak of a process", max(one.peak for one in costs["2"]), "MiB", 40.0)


def index(bench: Bench) -> Iterator[Value]:
    """P6: bytes in the index and in all."""
    sizes, rows = [], []
    for size in (SMALL, LARGE):
        home = home_of(bench, size)
        sizes.append((home / "attestor.db").stat().st_size)
        [log] = data("--home", home, "tiles", "stats")["backends"]
        rows.append(log["tiles"])
        held = log["bytes"]
    row = (sizes[1] - sizes[0]) / (rows[1] - rows[0])
    yield Value("index, a row", row, "bytes", 55)
    yield Value("store, a leaf", (sizes[1] + held) / LARGE, "bytes", 34)


def proofs(bench: Bench) -> Iterator[Value]:
    """P8: inclusion proofs from tiles."""
    home, count = home_of(bench, LARGE), 200 if bench.short else 2000
    chance = random.Random(8)  # noqa: S311 repeatable
    with closing(open_store(home, write=False)) as store:
        mirror = Mirror(store, require_log(store, ORIGIN))
        prove_inclusion(mirror, 1)
        started = time.process_time()
        for _ in range(count):
            prove_inclusion(mirror, chance.randrange(LARGE))
        each = (time.process_time() - started) / count
    peer = bench.peers.get("bench-peer")
    if bench.short or peer is None:
        yield Value("a proof", each / calibration(), "calibrations", bench.bound(0.05, 0.045))
        return
    files = files_of(bench, LARGE)
    said = run([peer, "prove", files, str(LARGE), str(count)]).output
    theirs = float(said.split()[-1]) / count
    yield Value("proofs, rate", theirs / each, "x", 0.5, at_least=True, note="x/mod ProveRecord")


def appending(bench: Bench) -> Iterator[Value]:
    """P9: a sync's cost follows what is new, not what is there."""
    sizes = (SMALL, LARGE) if bench.short else (SMALL, LARGE, PUBLIC)
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    with ExitStack() as servers:
        homes, files = {}, {}
        for size in sizes:
            files[size] = bench.directory / f"size-{size}"
            files[size].write_text(str(size))
            grows = served(repr(str(files[size])), name="GrowingLog")
            homes[size] = home_of(bench, size, servers.enter_context(grows))
        for turn in range(3 if bench.short else 5):
            for size in sizes:
                files[size].write_text(str(size + APPENDED * (turn + 1)))
                costs[size].append(run(attestor("--home", homes[size], "sync")).cpu)
    for size in sizes[1:]:
        ratio = min(costs[size]) / min(costs[SMALL])
        what, note = f"sync of {APPENDED:,} new at {size:,}", f"CPU of the same at {SMALL:,}"
        yield Value(what, ratio, "x", bench.bound(1.1, 1.1), note=note)


def constant(bench: Bench) -> Iterator[Value]:
    """P11: a home as large as the public log answers as fast as a small one, in as much memory."""
    size = bench.leaves or (LARGE if bench.short else PUBLIC)
    rounds = 3 if bench.short else 7
    request = sign_request(ARTIFACT)
    logs = {n: MadeLog(n, request.canonical_body) for n in (SMALL, size)}
    with ExitStack() as servers:
        homes = {}
        for n, log in logs.items():
            url = servers.enter_context(served(f"{n}, {log.entry!r}"))
            homes[n] = scratch(bench, f"home-{n}")
            log.store(homes[n], url)
            (homes[n] / "artifact").write_bytes(ARTIFACT)
            (homes[n] / "signer.pem").write_bytes(SIGNER_PEM)
            (homes[n] / "bundle.json").write_bytes(log.sigstore_bundle(777, request))
        for name, words in COMMANDS.items():
            turns = {
                n: partial(
                    run, attestor("--home", home, *(word.format(home=home) for word in words))
                )
                for n, home in homes.items()
            }
            yield from _compared(bench, name, rounds, turns)
    for n, log in logs.items():  # a day later
        log.tree_size += A_DAY
        log.fill(homes[n], n)
    sticks: dict[int, list[Path]] = {n: [] for n in homes}

    def export(n: int) -> Cost:
        stick = homes[n] / f"stick-{len(sticks[n])}.tar"
        sticks[n].append(stick)
        return run(attestor("--home", homes[n], "export", "--base", str(n), "--output", stick))

    turns = {n: partial(export, n) for n in homes}
    yield from _compared(bench, f"export of a day, {A_DAY:,} entries", rounds, turns)
    sizes = {n: paths[0].stat().st_size for n, paths in sticks.items()}
    note = f"{sizes[size]:,} over {sizes[SMALL]:,}"
    yield Value(
        "export of a day, bytes of the stick", sizes[size] / sizes[SMALL], "x", 1.2, note=note
    )


COMMANDS = {
    "status": ("status",),
    "verify, with our own view": (
        *("verify", "{home}/artifact", "--bundle", "{home}/bundle.json"),
        *("--key", "{home}/signer.pem", "--require-mirror"),
    ),
    "prove": ("prove", "--origin", ORIGIN, "--index", "777"),
    "sync, nothing new": ("sync",),
    "metrics": ("metrics",),
    "tiles stats": ("tiles", "stats"),
}


def _compared(
    bench: Bench, name: str, rounds: int, turns: Mapping[int, Callable[[], Cost]]
) -> Iterator[Value]:
    """Yield what a command takes in the larger home beside what it takes in the small one."""
    costs = in_turns(rounds, {str(n): turn for n, turn in turns.items()})
    small, large = (costs[str(n)] for n in sorted(turns))
    bound = bench.bound(1.2, 1.2)
    note = f"CPU, {max(turns):,} leaves over {min(turns):,}; wall {wall(large):.2f} s"
    yield Value(name, cpu(large) / cpu(small), "x", bound, note=note)
    peaks = [max(one.peak for one in of) for of in (large, small)]
    note = f"{peaks[0]:.0f} MiB"
    yield Value(f"{name}, peak", peaks[0] / peaks[1], "x", bound, note=note)
