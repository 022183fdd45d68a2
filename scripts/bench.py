"""What scripts/bench measures: a table of subjects, each a function of scripts/measures."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.measures.carrying import carrying  # noqa: E402
from scripts.measures.fetching import fetching  # noqa: E402
from scripts.measures.large_logs import appending, audit, constant, index, proofs  # noqa: E402
from scripts.measures.logging_entries import logging  # noqa: E402
from scripts.measures.memory import entries, leaves  # noqa: E402
from scripts.measures.queueing import queueing  # noqa: E402
from scripts.measures.revisions import laid_out  # noqa: E402
from scripts.measures.shape import Bench, Value, skipped  # noqa: E402
from scripts.measures.verifying import many, one, starting  # noqa: E402

SLACK = 1.25  # of the short form, whose bounds are what was measured: a third more is seen
Measure = Callable[[Bench], Iterator[Value]]
MEASURES: dict[str, tuple[str, tuple[Measure, ...]]] = {
    "P1": ("starts", (starting,)),
    "P2": ("one verification in a fresh process", (one,)),
    "P3": ("many verifications", (many,)),
    "P4": ("audit", (audit,)),
    "P5": ("sync", (fetching,)),
    "P6": ("what is kept", (index,)),
    "P7": ("export and import", (carrying,)),
    "P8": ("proofs", (proofs,)),
    "P9": ("appending to a large log", (appending,)),
    "P10": ("logging entries", (logging,)),
    "P11": ("a home as large as the public log", (constant,)),
    "P12": ("the queue", (queueing,)),
    "memory": ("peak memory", (leaves, entries)),
}


WITH_COSIGN = {"P2", "P3"}  # it takes minutes to build
WITH_GO = {"P4", "P5", "P8"}
WITH_REKOR = {"P10"}


def find_peers(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the programs that these subjects are compared with, as far as they can be had."""
    found = {name: path for name in ("curl", "tar") if (path := shutil.which(name))}
    if WITH_COSIGN & set(names):
        script = ROOT / "scripts" / "verification-peers"
        done = subprocess.run([script], capture_output=True, text=True, check=False)
        program = Path(done.stdout.strip() or "/nonexistent") / "cosign"
        if program.exists():
            found["cosign"] = str(program)
    if WITH_REKOR & set(names):
        done = subprocess.run(
            [ROOT / "scripts" / "peers"], capture_output=True, text=True, check=False
        )
        program = Path(done.stdout.strip() or "/nonexistent") / "rekor-server-posix"
        if program.exists():
            found["rekor-server-posix"] = str(program)
    if WITH_GO & set(names) and shutil.which("go"):
        peer = directory / "bench-peer"
        done = subprocess.run(
            ["go", "build", "-trimpath", "-o", peer, "."],
            cwd=ROOT / "scripts" / "measures" / "peer",
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-modcacherw"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            found["bench-peer"] = str(peer)
        else:
            sys.stderr.write(f"bench: no Go peer: {done.stderr[-300:]}\n")
    return found


def measure(bench: Bench, names: Sequence[str]) -> Iterator[tuple[str, Value]]:
    """Yield each value with the name of its subject, as it comes."""
    for name in names:
        for function in MEASURES[name][1]:
            try:
                for value in function(bench):
                    yield name, value
            except ModuleNotFoundError as error:
                yield name, skipped(function.__name__, str(error))


def main() -> int:
    """Measure and print; 1 if anything misses its target."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every subject [default]")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="repeatable")
    parser.add_argument("--memory", action="store_true", help="peaks by size of log and entries")
    parser.add_argument("--short", action="store_true", help="a minute, bounds with room for noise")
    parser.add_argument("--leaves", type=int, help="of the log of P5 and P11 [default: theirs]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--before", metavar="REVISION", help="beside an earlier one of ours [P10]")
    parser.add_argument("--directory", type=Path, help="keeps what is made once [default: none]")
    given = parser.parse_args()
    only = [*(given.only or ()), *(["memory"] if given.memory else [])]
    names = list(MEASURES) if given.all or not only else only
    load, started = os.getloadavg()[0], time.monotonic()
    values: list[tuple[str, Value]] = []
    say = (lambda _: None) if given.json else _say
    with tempfile.TemporaryDirectory(prefix="attestor-bench-") as temporary:
        directory = given.directory.resolve() if given.directory else Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        peers = {} if given.short else find_peers(directory, names)
        os.environ["HOME"] = temporary  # sigstore-python keeps a cache there
        slack = SLACK if given.short else 1.0
        before = laid_out(given.before, Path(temporary) / "before") if given.before else None
        bench = Bench(directory, given.short, peers, slack, given.leaves, before)
        say(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, load {load:.1f}")
        last = ""
        for name, value in measure(bench, names):
            if name != last:
                say(f"{name} {MEASURES[name][0]}")
            last = name
            values.append((name, value))
            say(value.line())
    missed = [name for name, value in values if value.verdict == "missed"]
    seconds = time.monotonic() - started
    if given.json:
        print(json.dumps(report(values, load, seconds), indent=2))
    say(f"{len(missed)} of {len(values)} missed, {seconds:.0f} s")
    return 1 if missed else 0


def report(values: Sequence[tuple[str, Value]], load: float, seconds: float) -> dict[str, Any]:
    """Return all of it for machines."""
    return {
        "python": sys.version.split()[0],
        "processors": os.cpu_count(),
        "loadBefore": load,
        "loadAfter": os.getloadavg()[0],
        "seconds": round(seconds, 1),
        "values": [
            {
                "subject": name,
                "what": one.what,
                "value": one.value,
                "unit": one.unit,
                "target": one.target,
                "bound": "atLeast" if one.at_least else "atMost",
                "verdict": one.verdict,
                "note": one.note,
            }
            for name, one in values
        ],
    }


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
