"""A home whose queue is filled, drained by processes that are killed, and judged afterwards.

What is judged is read with sqlite3 and json from what is on the disk; the appliance is
asked for nothing but to queue and to drain.
"""

from __future__ import annotations

import gzip
import json
import random
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from appliance.jobs.queue.enqueue import Wish, enqueue
from appliance.jobs.queue.settings import read_queue_settings
from appliance.rekor.entry import Digest
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.runs.session import Session
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.sigstore.submission import submit_message
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.tile import WIDTH, EntryBundle
from tests.interop.attestor import COMMAND, Site
from tests.interop.signed_artifact import sign_artifact
from tests.rig.fault_proxy import FaultProxy, Write
from tests.rig.independent import leaf_of, verify_entry
from tests.rig.replay import Limit, fullest_of, over_budget, taken, unexplained_duplicates
from tests.serve.running_log import RunningLog

TENANTS: Final = ("acme", "bravo", "corge", "delta", "echo")
FINAL: Final = {"logged", "refused", "cancelled", "proven-inside"}


@dataclass(frozen=True, slots=True)
class Target:
    """The log behind everything."""

    origin: str
    spki: bytes  # DER
    public_key: Path  # PEM
    read_url: str


@dataclass(frozen=True, slots=True)
class Item:
    """What is on the disk about one item."""

    number: int
    tenant: str
    request: bytes
    state: str
    entry: dict[str, Any] | None  # of its receipt
    attempts: int
    interrupted: int  # attempts during which the drain died

    @property
    def digest(self) -> str:
        """SHA-256 of the request, as the proxy knows it."""
        return sha256(self.request).hexdigest()


@dataclass
class Figures:
    """What a run came to."""

    items: int = 0
    states: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    drains: int = 0
    seconds: float = 0.0
    writes: int = 0  # that the proxy saw
    faults: dict[str, int] = field(default_factory=dict)
    entries: int = 0  # in the log
    duplicates: int = 0  # of them
    interrupted: int = 0  # attempts
    most_attempts: int = 0  # of one item
    fullest: dict[str, int] = field(default_factory=dict)  # of any tenant's windows, by limit

    def __str__(self) -> str:
        return (
            f"{self.items:,} items of {len(TENANTS)} tenants in {self.seconds:.0f} s:"
            f" {self.states}; {self.drains} drains, {self.kills} killed, {self.interrupted}"
            f" attempts interrupted; {self.writes:,} writes ({self.faults}); {self.entries:,}"
            f" entries, {self.duplicates} duplicates, at most {self.most_attempts} attempts of one"
            f" item; fullest windows: {self.fullest}"
        )


class QueueHome:
    """A home with five tenants that submits to one log through a proxy."""

    def __init__(self, home: Path, target: Target, url: str, settings: Mapping[str, str]) -> None:
        self.home, self.target = home, target
        self.site = Site(home)
        self.site.run("init", "--site", "build.example")
        self.site.run(
            *("backend", "add", "log", "--origin", target.origin, "--url", url),
            *("--public-key", target.public_key, "--read-url", target.read_url),
        )
        for name in TENANTS:
            self.site.run("tenant", "add", name)
        for key, value in {"rekor.serverUrl": url, **settings}.items():
            self.site.run("config", "set", key, value)

    def fill(self, count: int, app: Session | None = None) -> None:
        """Queue so many signed artifacts, one tenant after the other in turn."""
        app = app or Session(self.home)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in TENANTS]
        with app.writing_unlocked() as store:
            settings = read_queue_settings(store)
            for number in range(count):
                turn = number % len(TENANTS)
                artifact = sign_artifact(keys[turn], f"scan {number}\n".encode())
                digest = Digest("sha256", sha256(artifact.content).digest())
                message = MessageSignature(artifact.signature, digest)
                submission = submit_message(
                    message, VerifierMaterial(artifact.spki, is_certificate=False)
                )
                wish = Wish(tenant=TENANTS[turn], tier="graph")
                assert enqueue(store, submission, wish, settings, app.moment()).is_new

    def items(self) -> list[Item]:
        """Read every item from the database file."""
        with closing(sqlite3.connect(f"file:{self.home}/attestor.db?mode=ro", uri=True)) as base:
            rows = base.execute(
                "SELECT number, tenant, request, state, entry, attempts,"
                " (SELECT count(*) FROM queue_attempt AS a WHERE a.item = number"
                "  AND a.outcome = 'interrupted')"
                " FROM queue_item LEFT JOIN queue_receipt ON item = number ORDER BY number"
            ).fetchall()
        return [
            Item(
                *(number, tenant, request, state),
                *(None if entry is None else json.loads(entry), attempts, interrupted),
            )
            for number, tenant, request, state, entry, attempts, interrupted in rows
        ]

    def waiting(self) -> int:
        """Count what is in no final state."""
        with closing(sqlite3.connect(f"file:{self.home}/attestor.db?mode=ro", uri=True)) as base:
            marks = ", ".join("?" for _ in FINAL)
            sql = f"SELECT count(*) FROM queue_item WHERE state NOT IN ({marks})"  # noqa: S608
            return int(base.execute(sql, sorted(FINAL)).fetchone()[0])

    def drain(self, *, kills: int, seed: int, longest: float, deadline: float) -> tuple[int, int]:
        """Drain until nothing waits, killing so many of the processes at random moments.

        Returns how many were started and how many killed. `longest` is how many seconds one
        of those that are to be killed may run; the rest runs to its end.
        """
        dice = random.Random(seed)  # noqa: S311 a test's dice
        started = killed = 0
        until = time.monotonic() + deadline
        while self.waiting():
            assert time.monotonic() < until, f"{self.waiting()} items wait after {deadline} s"
            # One that is to be killed has to be alive: it waits where the budget makes it.
            waiting = ["--wait"] if killed < kills else []
            process = subprocess.Popen(
                [COMMAND, "--home", self.home, "queue", "drain", *waiting, "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            started += 1
            limit = dice.uniform(0.2, longest) if killed < kills else until - time.monotonic()
            try:
                out, err = process.communicate(timeout=max(limit, 1.0 if killed >= kills else 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
                continue
            # 7: a server asked to wait; 8: the budget does.
            assert process.returncode in (0, 7, 8), f"{process.returncode}: {out!r} {err!r}"
            time.sleep(0.2)
        return started, killed


def stored_leaves(storage: Path) -> list[bytes]:
    """Read every entry from the files of a log's storage directory."""
    return list(_leaves(lambda path: (storage / path).read_bytes()))


def served_leaves(server: RunningLog) -> list[bytes]:
    """Read every entry from a log that is served."""

    def read(path: str) -> bytes:
        status, _, body = server.ask("GET", f"/api/v2/{path}")
        assert status == 200, path
        return body

    return list(_leaves(read))


def _leaves(read: Callable[[str], bytes]) -> Iterator[bytes]:
    size = int(read("checkpoint").decode().split("\n")[1])
    for index in range(-(-size // WIDTH)):
        bundle = EntryBundle(index, min(WIDTH, size - index * WIDTH))
        raw = read(bundle.path)
        whole = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        yield from parse_entry_bundle(whole, bundle)


def judge(
    home: QueueHome,
    proxy: FaultProxy,
    leaves: Sequence[bytes],
    limits: Sequence[Limit],
    expected: int,
) -> Figures:
    """Assert everything that has to be true of a queue that was drained; return the figures."""
    items, writes = home.items(), proxy.writes()
    assert len(items) == expected, "items were lost"
    assert {one.state for one in items} == {"logged"}, Counter(one.state for one in items)
    for one in items:
        assert one.entry is not None, f"item {one.number} is done without a proof"
        verify_entry(one.entry, one.request, home.target.origin, home.target.spki)
        index = int(one.entry["logIndex"])
        assert leaves[index] == leaf_of(one.request), f"item {one.number} is not where it says"
    tenant_of = {one.digest: one.tenant for one in items}
    strangers = [one for one in writes if one.request not in tenant_of]
    assert not strangers, "something was sent that is no item"
    over = over_budget(writes, tenant_of, limits)
    assert not over, over
    copies = Counter(leaves)
    assert set(copies) == {leaf_of(one.request) for one in items}
    held = {one.digest: copies[leaf_of(one.request)] for one in items}
    interrupted = {one.digest: one.interrupted for one in items}
    unexplained = unexplained_duplicates(writes, held, interrupted)
    assert not unexplained, unexplained[:5]
    figures = _figures(items, writes, leaves)
    for limit in limits:
        held_in = fullest_of(writes, tenant_of, limit.seconds)
        figures.fullest[f"of {limit.most} in {limit.seconds:g} s"] = held_in
    return figures


def _figures(items: Sequence[Item], writes: Sequence[Write], leaves: Sequence[bytes]) -> Figures:
    assert len(taken(writes)) <= len(leaves)
    return Figures(
        items=len(items),
        states=dict(Counter(one.state for one in items)),
        writes=len(writes),
        faults=dict(sorted(Counter(one.fault for one in writes).items())),
        entries=len(leaves),
        duplicates=len(leaves) - len(set(leaves)),
        interrupted=sum(one.interrupted for one in items),
        most_attempts=max(one.attempts for one in items),
    )
