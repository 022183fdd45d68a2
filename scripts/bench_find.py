"""The measurements that scripts/bench-find prints."""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from appliance.jobs.find.criteria import Criteria, criteria_data  # noqa: E402
from appliance.jobs.home.init import init_home  # noqa: E402
from appliance.jobs.mirror.prove import show_entry  # noqa: E402
from appliance.jobs.progress import unseen  # noqa: E402
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
from appliance.store.database import Store, open_store  # noqa: E402
from appliance.store.find.expectations import Terms  # noqa: E402
from appliance.store.find.index import index_path, index_size  # noqa: E402
from appliance.store.find.watches import NewWatch, add_scanned  # noqa: E402
from appliance.store.find.watches import add_watch as store_watch  # noqa: E402
from appliance.store.mirror.checkpoints import Arrival  # noqa: E402
from appliance.store.mirror.entry_frames import compress_bundle  # noqa: E402
from appliance.store.mirror.logs import add_log, put_backend, require_log  # noqa: E402
from appliance.store.mirror.mirror import Mirror  # noqa: E402
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint  # noqa: E402
from appliance.tlog.growth import Edge, grow  # noqa: E402
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead  # noqa: E402
from appliance.tlog.note import SigningKey, sign_note  # noqa: E402
from appliance.tlog.tile import edge_tiles  # noqa: E402
from tests.pki.authorities import LeafPlan, spki  # noqa: E402
from tests.pki.bundles import Instance, hashedrekord_v2  # noqa: E402

ORIGIN = "bulk.example/log"
LOG_KEY = SigningKey(ORIGIN, bytes(range(32)))
BATCH = 65_536
A_RUN = 5  # entries that one CI run signs
DISTINCT = 0.178  # identities for each entry
NUMBER = "0000000"
RUN = "99999999999"
_KEY_ID = {"2.5.29.14": b"\x04\x14" + b"\x04" * 20}
_VERSION = bytes.fromhex("a003020102")  # in front of a certificate's serial number
_SCT = bytes.fromhex("060a2b06010401d679020402")  # the OID of a certificate's SCT list
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIGNATURE = b64encode(b"\x02" * 72)
REPOSITORY = f"https://git.example/org-{NUMBER}/app"
WORKFLOW = f"{REPOSITORY}/.github/workflows/release.yml@refs/heads/main"
ISSUER = "https://token.git.example"
ROUNDS = 200
NEW_ENTRIES = 4800
# What the design was measured at with 200,000 entries: bytes, entries a CPU second, ms.
WANTED = {"index : entry bundles": "<= 0.25", "index : reading": ">= 0.65", "fast": ">= 2.5x"}
SAMPLE = 4000  # entries that are read by each reader in turn


def identity(number: int) -> str:
    """Return the identity of a run."""
    return WORKFLOW.replace(NUMBER, f"{number:07}")


class Entries:
    """Entries as CI logs them: made from one of each kind by changing what differs.

    Nobody verifies the signatures of what is searched, so they are those of the pattern.
    """

    def __init__(self, count: int) -> None:
        self.n_identities = max(int(count * DISTINCT), 1)
        ref = "refs/heads/main"
        owner = f"https://git.example/org-{NUMBER}"
        # As a CI of today fills them: 20 claims.
        claims = {
            "2": "push", "3": COMMIT, "4": "Release", "5": f"org-{NUMBER}/app", "6": ref,
            "9": WORKFLOW, "10": COMMIT, "11": "hosted", "12": REPOSITORY, "13": COMMIT,
            "14": ref, "15": "123456789", "16": owner, "17": "9876543", "18": WORKFLOW,
            "19": COMMIT, "20": "push", "21": f"{REPOSITORY}/actions/runs/{RUN}/attempts/1",
            "22": "public",
        }  # fmt: skip
        made = Instance()
        plan = LeafPlan(
            (x509.UniformResourceIdentifier(WORKFLOW),),
            issuer_v1=ISSUER,
            issuer_v2=ISSUER,
            claims=claims,
            raw_extensions=_KEY_ID,
        )
        self.ci = self._pattern(made.sign_artifact(None, plan))
        mail = LeafPlan((x509.RFC822Name(f"dev-{NUMBER}@example.com"),), raw_extensions=_KEY_ID)
        self.mail = self._pattern(made.sign_artifact(None, mail))
        self.key = self._pattern(made.sign_artifact(None, managed=True))

    def _pattern(self, signed: Any) -> tuple[bytes, bytes, bytes, bytes]:
        """Return a body in pieces: before the digest, before the signer's DER, after, and DER."""
        document = hashedrekord_v2(signed, bytes(32))
        document["spec"]["hashedRekordV002"]["signature"]["content"] = SIGNATURE.decode()
        body = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        der = signed.der
        before, rest = body.split(b64encode(bytes(32)), 1)
        between, after = rest.split(b64encode(der), 1)
        # The key, and what Fulcio and a CT log signed, differ from entry to entry.
        der = der.replace(spki(signed.key)[-64:], b"\x00" * 64)
        if signed.certificate is not None:
            der = der[:-56] + b"\x01" * 56
            at = der.index(_SCT) + len(_SCT)
            end = at + 2 + der[at + 1]
            der = der[: end - 64] + b"\x03" * 64 + der[end:]
            at = der.index(_VERSION) + len(_VERSION)
            der = der[: at + 4] + b"\x05" * 14 + der[at + 18 :]  # of the serial number
        return before, between, after, der

    def bodies(self, start: int, stop: int, *, on_curve: bool = False) -> Iterator[bytes]:
        """Yield entries; with keys that are points of the curve, if somebody reads them."""
        for at in range(start, stop):
            chance = random.Random(at)  # noqa: S311 repeatable
            kind = at % 100
            run = random.Random(f"run {at // A_RUN}")  # noqa: S311 repeatable
            number = b"%07d" % run.randrange(self.n_identities)
            before, between, after, der = (
                self.key if kind < 2 else self.mail if kind < 7 else self.ci
            )
            if kind >= 2:
                der = der.replace(NUMBER.encode(), number)
                der = der.replace(COMMIT.encode(), commit(at).encode())
                der = der.replace(RUN.encode(), b"%011d" % run.randrange(10**11))
            key = point(at) if on_curve else chance.randbytes(64)
            der = der.replace(b"\x00" * 64, key)
            der = der.replace(b"\x01" * 56, chance.randbytes(56))
            der = der.replace(b"\x03" * 64, chance.randbytes(64))
            der = der.replace(b"\x04" * 20, chance.randbytes(20))
            der = der.replace(b"\x05" * 14, chance.randbytes(14))
            made = before + b64encode(digest(at)) + between + b64encode(der) + after
            yield made.replace(SIGNATURE, b64encode(chance.randbytes(72)))


def digest(at: int) -> bytes:
    """Return what an entry signed."""
    return sha256(b"artifact %d" % at).digest()


def point(at: int) -> bytes:
    """Return a public key of P-256, both coordinates."""
    key = ec.derive_private_key(at + 1, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def commit(at: int) -> str:
    """Return the commit of an entry's run."""
    return sha256(b"run %d" % (at // A_RUN)).hexdigest()[:40]


def make_log(home: Path, count: int) -> None:
    """Store a log of so many entries, as a sync leaves it."""
    init_home(home, "bench.example", "connected", lambda n: b"\x01" * n)
    entries = Entries(count)
    edge = Edge(TreeHead(0, EMPTY_ROOT), {}, ())
    with closing(open_store(home, write=True)) as store:
        with store.atomic():
            log = add_log(store, ORIGIN, 2, LOG_KEY.verifier.spki)
            put_backend(store, "bulk", log, base_url=None, read_url=None)
        for start in range(0, count, BATCH):
            edge = _append(store, edge, list(entries.bodies(start, min(start + BATCH, count))))
            say(f"made {edge.head.tree_size:,} entries")


def _append(store: Store, edge: Edge, bodies: Sequence[bytes]) -> Edge:
    log = require_log(store, ORIGIN)
    growth = grow(edge, bodies)
    packed = [compress_bundle(one) for one in growth.entry_bundles.values()]
    digests = store.blobs.put([*growth.tiles.values(), *packed])
    note = sign_note(str(Checkpoint(ORIGIN, growth.head)), [LOG_KEY])
    signed = open_checkpoint(note, log.keys, ORIGIN)
    with store.atomic():
        Mirror(store, log).put_rows(
            [
                (log.id, tile.level, tile.index, tile.width, one)
                for tile, one in zip(growth.tiles, digests[: len(growth.tiles)], strict=True)
            ],
            [
                (log.id, bundle.index, bundle.width, one, len(data))
                for bundle, one, data in zip(
                    growth.entry_bundles, digests[len(growth.tiles) :], packed, strict=True
                )
            ],
        )
        Mirror(store, log).history.insert(signed, Arrival("direct", "made up", int(time.time())))
        store.execute(
            "UPDATE log SET mirror_size = ? WHERE id = ?", [growth.head.tree_size, log.id]
        )
    tiles = {**edge.tiles, **growth.tiles}
    last = tuple(bodies[-(growth.head.tree_size % 256) :]) if growth.head.tree_size % 256 else ()
    return Edge(growth.head, {one: tiles[one] for one in edge_tiles(growth.head.tree_size)}, last)


def say(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def median_ms(rounds: int, once: Callable[[int], None]) -> float:
    """Return the median time of calls with different numbers, in milliseconds."""
    times = []
    for at in range(rounds):
        began = time.perf_counter()
        once(at)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def measure_build(session: Session, count: int, stored: int) -> None:
    """Index the log anew, and say how fast and how large."""
    index_path(session.home).unlink(missing_ok=True)
    began, cpu = time.perf_counter(), time.process_time()
    build_index(session, (), None, unseen)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    size = index_size(session.home) or 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"index build: {count / cpu:,.0f} entries a CPU second, {count / wall:,.0f} by the clock")
    measure_reading(count, cpu)
    say(
        f"index: {size / count:.0f} bytes an entry, {size / stored:.2f}x of {stored / count:.0f} in"
        f" entry bundles (wanted: {WANTED['index : entry bundles']}); peak {peak:.0f} MiB"
    )


def measure_reading(count: int, build_cpu: float) -> None:
    """Compare the build with reading alone, and our reader with the strict ones, by CPU time."""
    bodies = list(Entries(count).bodies(0, min(count, SAMPLE), on_curve=True))

    def took(read: Callable[[bytes], object]) -> float:
        began = time.process_time()
        for body in bodies:
            read(body)
        return (time.process_time() - began) / len(bodies)

    plain, fast, strict = took(_plainly), took(read_entry), took(_strictly)
    say(
        f"index build: {plain / (build_cpu / count):.2f} of the rate of json.loads and reading the"
        f" certificate alone (wanted: {WANTED['index : reading']})"
    )
    say(
        f"reading an entry: {fast * 1e6:.0f} us; by the strict parser and a full reading of the"
        f" certificate {strict * 1e6:.0f} us, {strict / fast:.1f}x (wanted: {WANTED['fast']})"
    )


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


def measure_searches(session: Session, count: int, n_rounds: int, *, rescan: bool) -> None:
    """Say how long each kind of search takes, and what it found."""
    chance = random.Random(7)  # noqa: S311 repeatable
    places = [chance.randrange(count) for _ in range(max(n_rounds, 20))]
    places = [at if at % 100 >= 7 else at // 100 * 100 + 50 for at in places]
    places = [min(at, count - 1) for at in places]
    n_identities = max(int(count * DISTINCT), 1)

    with session.reading() as store:
        mirror = Mirror(store, require_log(store, ORIGIN))
        shown = median_ms(n_rounds, lambda at: void(show_entry(mirror, places[at])))
    say(f"reading and proving one entry: {shown:.2f} ms")

    def found(criteria: Criteria, *, whole: bool = False) -> int:
        run = search_entries(session, Query(criteria, rescan=whole, limit=10**9), unseen)
        if not run.found.is_complete:
            raise SystemExit("the index is not complete: run it again in another directory")
        return len(run.found.hits)

    kinds: dict[str, tuple[int, Callable[[int], Criteria]]] = {
        "digest": (n_rounds, lambda at: Criteria(digests=(digest(places[at]),))),
        "digest that is not there": (n_rounds, lambda at: Criteria(digests=(digest(-at - 1),))),
        "commit": (n_rounds, lambda at: Criteria(commits=(commit(places[at]),))),
        "identity": (
            n_rounds,
            lambda at: Criteria(identities=(identity(places[at] % n_identities),)),
        ),
        "identity prefix": (
            20,
            lambda at: Criteria(prefixes=(identity(places[at] % n_identities)[:30],)),
        ),
        "identity pattern": (
            3,
            lambda at: Criteria(identity_patterns=(rf"org-{places[at] % n_identities:07}/",)),
        ),
    }
    for name, (rounds, criteria) in kinds.items():
        took, hits = measured(rounds, criteria, found)
        say(f"search by {name}: {took:,.2f} ms, {statistics.median(hits):g} hits")
    if rescan:
        began = time.perf_counter()
        found(kinds["digest"][1](0), whole=True)
        say(f"search by digest that reads everything: {time.perf_counter() - began:,.0f} s")


def measure_ledger(session: Session, count: int, rows: int = 1000) -> None:
    """Say how long it takes to compare what is expected with the log."""
    chance = random.Random(8)  # noqa: S311 repeatable
    wanted = [
        Terms(digest=digest(chance.randrange(2 * count)), signer=bytes(32)) for _ in range(rows)
    ]
    add_expected(session, wanted)
    began = time.perf_counter()
    ledger_after(session)
    say(f"comparing {rows:,} expected digests: {(time.perf_counter() - began) * 1000:,.0f} ms")


def measure_watches(session: Session, count: int, *, rescan: bool) -> None:
    """Say how long a new watch takes over all of the past, and many over what a sync brings."""
    names = [one.watch.name for one in list_watches(session)]
    for name in names:
        remove_watch(session, name)
    began = time.perf_counter()
    found = add_watch(session, "one", Criteria(identities=(identity(1),)), WatchOptions(), unseen)
    past = time.perf_counter() - began
    say(f"a new watch over all of the past: {past * 1000:,.0f} ms, {len(found.report.found)} found")
    if rescan:
        began = time.perf_counter()
        scan(session, ["one"], (), unseen, rescan=True)
        whole = time.perf_counter() - began
        say(f"the same by reading everything: {whole:,.1f} s, {whole / past:,.0f}x")
    fresh, took = min(count, NEW_ENTRIES), []
    for n_watches in (1, 100):
        for at in range(n_watches):
            pattern = rf"^{REPOSITORY.replace(NUMBER, f'{at:07}')}/.*@refs/tags/"
            with session.writing_unlocked() as store, store.atomic():
                data = criteria_data(Criteria(identity_patterns=(pattern,)))
                new = NewWatch(f"w{n_watches}.{at}", data, "info", "optional", 0, "info", "start")
                watch = store_watch(store, new, session.now())
                if fresh < count:
                    log = require_log(store, ORIGIN)
                    add_scanned(store, watch, log, [(0, count - fresh)])
        began = time.process_time()
        scan(session, (), (), unseen)
        took.append((time.process_time() - began) / fresh * 1e6)
    say(
        f"comparing what a sync brings: {took[0]:.0f} us an entry with one watch,"
        f" {took[1]:.0f} with 100 patterns more"
    )


def measured(
    rounds: int, make: Callable[[int], Criteria], found: Callable[[Criteria], int]
) -> tuple[float, list[int]]:
    """Return the median time of a search in milliseconds, and how many hits each had."""
    hits: list[int] = []
    return median_ms(rounds, lambda at: hits.append(found(make(at)))), hits


def void(_: object) -> None:
    """Take a value and do nothing with it."""


def main() -> None:
    """Make the log if it is not there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--rescan", action="store_true")
    options = parser.parse_args()
    home = options.directory / f"home-{options.entries}"
    if not home.exists():
        unfinished = home.with_name(home.name + ".unfinished")
        make_log(unfinished, options.entries)
        unfinished.rename(home)
    session = Session(home=home)
    with session.reading() as store:
        [row] = store.rows("SELECT sum(n_bytes) AS n FROM entry_bundle")
    measure_build(session, options.entries, int(row["n"]))
    measure_searches(session, options.entries, options.rounds, rescan=options.rescan)
    measure_ledger(session, options.entries)
    measure_watches(session, options.entries, rescan=options.rescan)


if __name__ == "__main__":
    main()
