"""The measurements that scripts/paired prints: this tree beside another revision of it."""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from scripts.measures.revisions import laid_out  # noqa: E402
from scripts.measures.verifying import CASES, KEYLESS, verify  # noqa: E402
from tests.simulator import SimulatedLog  # noqa: E402

START = "import sys; from {} import main; sys.argv[0] = 'attestor'; sys.exit(main())"
ENTRIES = 3000  # of the log that is synced


class Tree:
    """One revision of the program, and a home of its own."""

    def __init__(self, name: str, sources: Path, scratch: Path) -> None:
        self.name, self.sources = name, sources
        self.home = scratch / f"home-{name}"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return how this tree is run; -P: nothing of the directory we are in is imported."""
        begins = (self.sources / "appliance" / "cli" / "start.py").exists()
        module = "appliance.cli.start" if begins else "appliance.cli.main"  # as it is installed
        return [sys.executable, "-P", "-c", START.format(module), *arguments]

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        """Run a command on this tree's code; ends ours if it fails."""
        kept = {key: one for key, one in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment = kept | {"PYTHONPATH": str(self.sources)}
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        if done.returncode:
            said = done.stderr.decode(errors="replace")[-500:]
            raise SystemExit(f"scripts/paired: {self.name}: {' '.join(command[4:])}: {said}")
        return done

    def processor_ms(self, arguments: Sequence[str]) -> float:
        """Run a command once; return the milliseconds of processor time it took."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run(self.command(arguments))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    def instructions(self, arguments: Sequence[str]) -> float:
        """Run a command once under valgrind; return how many million instructions it took."""
        tool = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
        done = self.run([*tool, *self.command(arguments)])
        counted = re.search(rb"Collected : (\d+)", done.stderr)
        if counted is None:
            raise SystemExit(f"scripts/paired: valgrind counted nothing: {done.stderr[-300:]!r}")
        return int(counted[1]) / 1e6


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: it is our own request."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory over HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=directory)) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def synced_home(tree: Tree, log: SimulatedLog, url: str, key: Path) -> None:
    """Make a home that has all of the log."""
    for words in (
        ["init", "--site", "site.example"],
        [
            *("backend", "add", "primary", "--origin", log.origin, "--public-key", str(key)),
            *("--read-url", url),
        ],
        ["sync"],
    ):
        tree.run(tree.command(["--home", str(tree.home), *words]))


def commands(tree: Tree) -> dict[str, list[str]]:
    """Return what is measured on a tree, by name."""
    key = str(CASES / "managed-key-happy-path" / "key.pub")
    return {
        "--version": ["--version"],
        "--help": ["--help"],
        "verify, managed key": verify("managed-key-happy-path", "--key", key),
        "verify, keyless": verify("happy-path-v0.3-new-mediaType", *KEYLESS),
        "sync, nothing new": ["--home", str(tree.home), "sync"],
    }


def main() -> int:
    """Measure, print the ratios; 1 if something is slower than it may be."""
    parser = argparse.ArgumentParser(prog="scripts/paired", description=__doc__)
    parser.add_argument("revision", metavar="REV", help="what to compare with")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each")
    parser.add_argument("--instructions", action="store_true", help="count them, by valgrind")
    parser.add_argument("--most", type=float, default=1.05, help="the largest ratio that is good")
    options = parser.parse_args()
    if options.instructions and shutil.which("valgrind") is None:
        raise SystemExit("scripts/paired: --instructions needs valgrind")
    measure = Tree.instructions if options.instructions else Tree.processor_ms
    rounds = 1 if options.instructions else options.rounds
    with tempfile.TemporaryDirectory(prefix="attestor-paired-") as place:
        scratch = Path(place)
        trees = (
            Tree("before", laid_out(options.revision, scratch / "before"), scratch),
            Tree("now", ROOT, scratch),
        )
        log = SimulatedLog()
        log.grow(ENTRIES)
        (scratch / "log").mkdir()
        log.write_static(scratch / "log")
        key = scratch / "log.vkey"
        key.write_text(log.key.vkey + "\n")
        with served(scratch / "log") as url:
            for tree in trees:
                synced_home(tree, log, url, key)
            return report(trees, measure, rounds, options.most)


def report(
    trees: tuple[Tree, Tree],
    measure: Callable[[Tree, Sequence[str]], float],
    rounds: int,
    most: float,
) -> int:
    """Print a line for each command; return 1 if one of them is slower than `most`."""

    unit = "million instructions" if rounds == 1 else f"ms of processor time, median of {rounds}"
    print(f"{'command':22} {'before':>9} {'now':>9} {'ratio':>7}   ({unit})")
    slower = False
    for name in commands(trees[0]):
        for tree in trees:  # what a first run writes, byte code above all, is there for all
            tree.run(tree.command(commands(tree)[name]))
        pairs = []
        for turn in range(rounds):
            order = trees if turn % 2 == 0 else trees[::-1]
            found = {tree.name: measure(tree, commands(tree)[name]) for tree in order}
            pairs.append((found["before"], found["now"]))
        before, now = (statistics.median(pair[at] for pair in pairs) for at in (0, 1))
        ratio = statistics.median(after / first for first, after in pairs)
        slower |= ratio > most
        print(f"{name:22} {before:9.1f} {now:9.1f} {ratio:7.3f}", flush=True)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
