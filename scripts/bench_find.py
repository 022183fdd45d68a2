"""The measurements that scripts/bench-find prints, each beside what is wanted of it."""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from appliance.jobs.find.criteria import Criteria, criteria_data  # noqa: E402
from appliance.jobs.find.search import coverage_of  # noqa: E402
from appliance.jobs.find.search import rescan as read_all  # noqa: E402
from appliance.jobs.progress import SILENT, unseen  # noqa: E402
from appliance.rekor.certificate_facts import read_certificate  # noqa: E402
from appliance.rekor.entry import HashedRekord, parse_entry  # noqa: E402
from appliance.rekor.entry_facts import read_entry  # noqa: E402
from appliance.rekor.x509_certificate import load_certificate  # noqa: E402
from appliance.runs.after_sync import ledger_after  # noqa: E402
from appliance.runs.expected import add_expected  # noqa: E402
from appliance.runs.find import Query, build_index, search_entries  # noqa: E402
from appliance.runs.session import Session  # noqa: E402
from appliance.runs.watch import WatchOptions, list_watches, scan  # noqa: E402
from appliance.runs.watch import add as add_watch  # noqa: E402
from appliance.runs.watch import remove as remove_watch  # noqa: E402
from appliance.sigstore.identity import read_names  # noqa: E402
from appliance.store.database import Store  # noqa: E402
from appliance.store.find.expectations import Terms  # noqa: E402
from appliance.store.find.index import index_path, index_size, open_index  # noqa: E402
from appliance.store.find.watches import NewWatch, add_scanned  # noqa: E402
from appliance.store.find.watches import add_watch as store_watch  # noqa: E402
from appliance.store.mirror.logs import require_log  # noqa: E402
from appliance.store.mirror.mirror import Mirror  # noqa: E402
from appliance.tlog.entries import parse_entry_bundle  # noqa: E402
from appliance.tlog.tile import WIDTH, EntryBundle  # noqa: E402
from scripts.measures.made_entries import (  # noqa: E402
    DISTINCT,
    NUMBER,
    REPOSITORY,
    Entries,
    commit,
    digest,
    identity,
    make_log,
)
from scripts.measures.made_log import MadeLog, served  # noqa: E402
from scripts.measures.shape import (  # noqa: E402
    ENVIRONMENT,
    Cost,
    Value,
    attestor,
    cpu,
    in_turns,
    run,
    skipped,
    wall,
)
from scripts.measures.verifying import CASES, KEYLESS, NO_CORPUS, V1, verify  # noqa: E402
from tests.find.stored_log import ORIGIN  # noqa: E402
from tests.queue.signed_files import write_artifact  # noqa: E402

ROUNDS = 200
NEW_ENTRIES = 4800  # of one sync
LATENCY = 0.03  # seconds before each answer of a log
SAMPLE = 4000  # entries that are read by each reader in turn
SPAN = 256  # entry bundles that are indexed together
GREPPED = 200_000  # entries that grep looks through, at most
RESCANNED = 20_000  # entries that are read without the index, at most
MONITORED = 570  # entries a second that another monitor reads
TOLD_APART = 0.99  # of them are at most as slow as what is compared


def say(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def median_ms(rounds: int, once: Callable[[int], None]) -> float:
    """Return the median processor time of calls with different numbers, in milliseconds."""
    times = []
    for at in range(rounds):
        began = time.process_time()
        once(at)
        times.append(time.process_time() - began)
    return statistics.median(times) * 1000


class Bench:
    """A home with a log of so many entries, and how often each search is asked."""

    def __init__(self, home: Path, count: int, rounds: int) -> None:
        self.home, self.count, self.rounds = home, count, rounds
        self.session = Session(home=home)
        self.n_identities = max(int(count * DISTINCT), 1)
        chance = random.Random(7)  # noqa: S311 repeatable
        places = [chance.randrange(count) for _ in range(max(rounds, 20))]
        places = [at if at % 100 >= 7 else at // 100 * 100 + 50 for at in places]  # a CI's
        self.places = [min(at, count - 1) for at in places]

    def mirror(self, store: Store) -> Mirror:
        """Return the mirror of the log."""
        return Mirror(store, require_log(store, ORIGIN))

    def found(self, criteria: Criteria) -> int:
        """Search by the index; return how many hits there are."""
        run = search_entries(self.session, Query(criteria, limit=10**9), unseen)
        if not run.found.is_complete:
            raise SystemExit("the index is not complete: run it again in another directory")
        return len(run.found.hits)


# --- building


def building(bench: Bench) -> Iterator[Value]:
    """Index the log anew: how fast beside reading the same entries alone, and how large."""
    index_path(bench.home).unlink(missing_ok=True)
    plain = built = indexed = 0.0
    began = time.perf_counter()
    for first in range(0, -(-bench.count // WIDTH), SPAN):
        bodies = list(_bodies(bench, range(first, min(first + SPAN, -(-bench.count // WIDTH)))))
        plain += _took(_plainly, bodies)
        started = time.process_time()
        indexed += build_index(bench.session, (), SPAN, unseen)
        built += time.process_time() - started
    taken = time.perf_counter() - began
    if indexed != bench.count:
        raise SystemExit(f"{indexed:,.0f} entries were indexed of {bench.count:,}")
    yield Value("index build", bench.count / built, "entries/CPU s", note=f"{taken:,.0f} s in all")
    note = f"json.loads and the certificate, {plain / bench.count * 1e6:.0f} us an entry"
    yield Value("index build beside reading", plain / built, "x", 0.65, at_least=True, note=note)
    with bench.session.reading() as store:
        [row] = store.rows("SELECT sum(n_bytes) AS n FROM entry_bundle")
    size = index_size(bench.home) or 0
    yield Value("index, bytes an entry", size / bench.count, "B")
    yield Value("index beside the entry bundles", size / int(row["n"]), "x", 0.25)
    sample = list(Entries(bench.count).bodies(0, min(bench.count, SAMPLE), on_curve=True))
    strict, fast = _took(_strictly, sample), _took(read_entry, sample)
    note = f"{fast / len(sample) * 1e6:.0f} us"
    yield Value("reading beside strict reading", strict / fast, "x", 2.5, at_least=True, note=note)


def memory(bench: Bench) -> Iterator[Value]:
    """Index the log in a process of its own."""
    cost = run(attestor("--home", bench.home, "index", "rebuild"))
    note = f"{cost.cpu:,.0f} CPU s, {cost.wall:,.0f} s"
    yield Value("index rebuild, peak", cost.peak, "MiB", 256, note=note)


def _bodies(bench: Bench, tiles: range) -> Iterator[bytes]:
    with bench.session.reading() as store:
        mirror = bench.mirror(store)
        for tile in tiles:
            bundle = EntryBundle(tile, min(WIDTH, bench.count - tile * WIDTH))
            yield from parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)


def _took(read: Callable[[bytes], object], bodies: Sequence[bytes]) -> float:
    """Return the processor seconds that reading takes."""
    began = time.process_time()
    for body in bodies:
        read(body)
    return time.process_time() - began


def _plainly(body: bytes) -> object:
    verifier = json.loads(body)["spec"]["hashedRekordV002"]["signature"]["verifier"]
    if "x509Certificate" not in verifier:
        return None
    return read_certificate(b64decode(verifier["x509Certificate"]["rawBytes"]))


def _strictly(body: bytes) -> object:
    entry = parse_entry(body)
    if not isinstance(entry, HashedRekord):
        raise SystemExit(f"the bench made a {entry.kind}")
    verifier = entry.signatures[0].verifier
    if not verifier.is_certificate:
        return None
    return read_names(load_certificate(verifier.der, "signer"))


# --- searching


def searching(bench: Bench) -> Iterator[Value]:
    """Search in each way, and beside what one would do without an index."""
    places = bench.places
    kinds: dict[str, tuple[int, Callable[[int], Criteria]]] = {
        "digest": (bench.rounds, lambda at: Criteria(digests=(digest(places[at]),))),
        "digest that is not there": (
            bench.rounds,
            lambda at: Criteria(digests=(digest(-at - 1),)),
        ),
        "commit": (bench.rounds, lambda at: Criteria(commits=(commit(places[at]),))),
        "identity": (
            bench.rounds,
            lambda at: Criteria(identities=(identity(places[at] % bench.n_identities),)),
        ),
        "identity prefix": (
            20,
            lambda at: Criteria(prefixes=(identity(places[at] % bench.n_identities)[:30],)),
        ),
        "identity pattern": (
            3,
            lambda at: Criteria(identity_patterns=(rf"org-{places[at] % bench.n_identities:07}/",)),
        ),
    }
    took = {}
    for name, (rounds, criteria) in kinds.items():
        took[name], hits = measured(rounds, criteria, bench.found)
        yield Value(f"search by {name}", took[name], "ms", note=f"{statistics.median(hits):g} hits")
    yield from grepping(bench, took["digest"])
    yield from matching(bench)
    yield from commands(bench)


def grepping(bench: Bench, search_ms: float) -> Iterator[Value]:
    """Search by digest beside grep in the same entry bundles."""
    what = "search by digest beside zstdcat | grep -F"
    if shutil.which("zstdcat") is None:
        yield skipped(what, "there is no zstdcat")
        return
    n_tiles = min(bench.count, GREPPED) // WIDTH
    with bench.session.reading() as store:
        mirror, files = bench.mirror(store), []
        for tile in range(n_tiles):
            blob = mirror.entry_bundle_blob(EntryBundle(tile, WIDTH))
            file = None if blob is None else store.blobs.file(blob[0])
            if file is not None:
                files.append(str(file.path))
    listed = bench.home.parent / "entry-bundles"
    listed.write_text("\n".join(files))
    wanted = b64encode(digest(n_tiles * WIDTH - 1)).decode()
    line = 'xargs zstdcat < "$0" | LC_ALL=C grep -a -c -F "$1"'
    costs = [run(["sh", "-c", line, listed, wanted]) for _ in range(3)]
    if costs[0].output.strip() != b"1":
        raise SystemExit(f"grep found {costs[0].output!r}")
    ratio, note = cpu(costs) * 1000 / search_ms, f"{cpu(costs):.2f} s of {n_tiles * WIDTH:,}"
    target = 100 if bench.count >= GREPPED else None
    yield Value(what, ratio, "x", target, at_least=True, note=note)


def matching(bench: Bench) -> Iterator[Value]:
    """Match a pattern that nothing meets with every identity."""
    index = open_index(bench.home, write=False)
    if index is None:
        raise SystemExit("there is no index")
    count = len(index.identities())
    index.close()
    nobody = Criteria(identity_patterns=("^https://[a-z.]+/org-[0-9]+/nothing$",))
    took = median_ms(5, lambda _: void(bench.found(nobody)))
    note = f"{count:,} identities, {took:,.0f} ms"
    yield Value("search by pattern, an identity", took * 1000 / count, "us", 1.5, note=note)


def commands(bench: Bench) -> Iterator[Value]:
    """Search by digest beside showing an entry, whole commands."""
    at = bench.places[0]
    show = attestor("--home", bench.home, "entries", "show", "--origin", ORIGIN, "--index", str(at))
    search = attestor("--home", bench.home, "entries", "search", "--digest", digest(at).hex())
    costs = in_turns(7, {"show": partial(run, show), "search": partial(run, search)})
    ratio, note = cpu(costs["search"]) / cpu(costs["show"]), f"{cpu(costs['show']):.2f} CPU s"
    yield Value("entries search beside entries show", ratio, "x", 1.3, note=note)


def measured(
    rounds: int, make: Callable[[int], Criteria], found: Callable[[Criteria], int]
) -> tuple[float, list[int]]:
    """Return the median processor time of a search in milliseconds, and the hits of each."""
    hits: list[int] = []
    return median_ms(rounds, lambda at: hits.append(found(make(at)))), hits


def void(_: object) -> None:
    """Take a value and do nothing with it."""


# --- watching


def watching(bench: Bench) -> Iterator[Value]:
    """Compare watches and the ledger with all of the past, by the index and by reading it."""
    session, count = bench.session, bench.count
    yield Value("1,000 expected digests", comparing(bench), "ms")
    for one in list_watches(session):
        remove_watch(session, one.watch.name)
    began = time.process_time()
    found = add_watch(session, "one", Criteria(identities=(identity(1),)), WatchOptions(), unseen)
    past = time.process_time() - began
    yield Value("new watch, all of the past", past * 1e3, "ms", note=_n(found.report.found))
    some = min(count, RESCANNED) // WIDTH * WIDTH
    if some:
        with session.reading() as store:
            mirror = bench.mirror(store)
            head = coverage_of(mirror, None).head
            if head is None:
                raise SystemExit("the log has no head")
            began = time.process_time()
            for _ in read_all(mirror, head, [(0, some)], SILENT):
                pass
            rate = some / (time.process_time() - began)
        note = f"a monitor that reads {MONITORED} entries/s"
        yield Value("reading all", rate, "entries/CPU s")
        yield Value("reading all", rate / MONITORED, "x", 15, at_least=True, note=note)
        ratio, target = count / rate / past, 100 if count >= GREPPED else None
        yield Value("new watch beside reading all", ratio, "x", target, at_least=True)
    fresh, took = min(count, NEW_ENTRIES), []
    for n_watches in (1, 100):
        add_watches(session, n_watches, (0, count - fresh))
        began = time.process_time()
        scan(session, (), (), unseen)
        took.append((time.process_time() - began) / fresh * 1e6)
    yield Value("new entries, a watch", took[0], "us/entry")
    yield Value("new entries, 100 patterns more", took[1], "us/entry")


def _n(found: Sequence[object]) -> str:
    return f"{len(found):,} found"


def add_watches(session: Session, count: int, compared: tuple[int, int]) -> None:
    """Add watches by pattern that were compared with a range of the log already."""
    with session.writing_unlocked() as store, store.atomic():
        log = require_log(store, ORIGIN)
        for at in range(count):
            pattern = rf"^{REPOSITORY.replace(NUMBER, f'{at:07}')}/.*@refs/tags/"
            data = criteria_data(Criteria(identity_patterns=(pattern,)))
            new = NewWatch(f"w{count}.{at}", data, "info", "optional", 0, "info", "start")
            watch = store_watch(store, new, session.now())
            if compared[0] < compared[1]:
                add_scanned(store, watch, log, [compared])


def comparing(bench: Bench, rows: int = 1000) -> float:
    """Return the processor time of comparing what is expected with the log, in milliseconds."""
    chance = random.Random(8)  # noqa: S311 repeatable
    wanted = [
        Terms(digest=digest(chance.randrange(2 * bench.count)), signer=bytes(32))
        for _ in range(rows)
    ]
    add_expected(bench.session, wanted)
    began = time.process_time()
    ledger_after(bench.session)
    return (time.process_time() - began) * 1000


# --- beside other work


def syncing(bench: Bench) -> Iterator[Value]:
    """Fetch new entries with an index and 100 watches, and without."""
    work, sizes = bench.home.parent / "syncing", (NEW_ENTRIES, 2 * NEW_ENTRIES)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    size_file, turn = work / "size", iter(range(1000))
    size_file.write_text(str(sizes[0]))
    arguments = f"{str(size_file)!r}, {sizes[0]}, {sizes[1]}"
    log = served(arguments, latency=LATENCY, module="made_entries", name="ServedEntries")
    with log as url:
        homes = {"without": work / "without", "with": work / "with"}
        run(attestor("--home", homes["without"], "init", "--site", "bench.example"))
        MadeLog.add_backend(homes["without"], url)
        run(attestor("--home", homes["without"], "sync", "--entries"))
        shutil.copytree(homes["without"], homes["with"])
        run(attestor("--home", homes["with"], "index", "build"))
        add_watches(Session(home=homes["with"]), 100, (0, sizes[0]))

        def once(name: str) -> Cost:
            home = work / f"home-{next(turn)}"
            shutil.copytree(homes[name], home)
            size_file.write_text(str(sizes[1]))
            return run(attestor("--home", home, "sync", "--entries"))

        costs = in_turns(7, {name: partial(once, name) for name in homes})
    shutil.rmtree(work)
    ratio, base = wall(costs["with"]) / wall(costs["without"]), wall(costs["without"])
    note = f"{NEW_ENTRIES:,} entries over {LATENCY * 1000:.0f} ms: {base:.2f} s without,"
    note += f" CPU {cpu(costs['with']):.2f} and {cpu(costs['without']):.2f} s"
    yield Value("sync with index and 100 watches beside without", ratio, "x", 1.15, note=note)


def beside(bench: Bench) -> Iterator[Value]:
    """Run commands while the index is built, and while it is not, in turns."""
    inputs, turns = bench.home.parent / "in", max(bench.rounds // 2, 2)
    shutil.rmtree(inputs, ignore_errors=True)
    signed = [write_artifact(inputs, f"beside {at}".encode()) for at in range(2 * turns)]
    words = {"status": ["status"], "queue add": []}
    if CASES.is_dir():
        words["verify"] = verify(V1, *KEYLESS)[2:]
    took: dict[tuple[str, bool], list[float]] = {}
    line = 'while "$@"; do :; done'  # again and again
    rebuild = attestor("--home", bench.home, "index", "rebuild")
    with subprocess.Popen(
        ["sh", "-c", line, "sh", *rebuild],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as builder:
        try:
            for turn in range(2 * turns):
                is_built = turn % 2 == 0
                os.killpg(builder.pid, signal.SIGCONT if is_built else signal.SIGSTOP)
                words["queue add"] = ["queue", "add", *signed[turn]]
                for name, command in words.items():
                    cost = run(attestor("--home", bench.home, *command))
                    took.setdefault((name, is_built), []).append(cost.wall)
        finally:
            os.killpg(builder.pid, signal.SIGKILL)
    for name in words:
        with_it, without = sorted(took[name, True]), sorted(took[name, False])
        at = int(TOLD_APART * turns)
        note = f"{without[at]:.2f} s at 99 %; medians {with_it[turns // 2]:.2f}"
        note += f" and {without[turns // 2]:.2f} s of {turns} turns"
        yield Value(
            f"{name} while an index is built", with_it[at] / without[at], "x", 1.2, note=note
        )
    if "verify" not in words:
        yield skipped("verify while an index is built", NO_CORPUS)
    run(attestor("--home", bench.home, "index", "rebuild"))


MEASURES = {
    "build": building,
    "memory": memory,
    "search": searching,
    "watch": watching,
    "sync": syncing,
    "beside": beside,
}


def main() -> int:
    """Make the log if it is not there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", action="append", choices=sorted(MEASURES))
    options = parser.parse_args()
    gc.set_threshold(100_000, 20, 20)  # as the command does
    home = options.directory / f"home-{options.entries}"
    if not home.exists():
        unfinished = home.with_name(home.name + ".unfinished")
        make_log(unfinished, options.entries, say)
        unfinished.rename(home)
    bench, n_missed = Bench(home, options.entries, options.rounds), 0
    for name, measure in MEASURES.items():
        if options.only and name not in options.only:
            continue
        for value in measure(bench):
            say(value.line())
            n_missed += value.verdict == "missed"
    say(f"{n_missed} missed")
    return 1 if n_missed else 0


if __name__ == "__main__":
    sys.exit(main())
