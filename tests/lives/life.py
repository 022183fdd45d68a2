"""A life: sites, logs and a courier, and a model that knows the right result of every step.

Two outer sites mirror two logs over HTTP, one with a second backend of the first log; three
inner sites get everything on sticks, and send what they queue the same way. A seed decides
what happens: the logs grow, are down, freeze and get a successor, change their key, show a
fork; sticks are lost, late, repeated; items are queued, cancelled, logged, proven inside; a
private log at an inner site is mirrored outside. Before each command its exit code is known,
and after each step what every touched site must hold and say.
"""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.tlog.note import SigningKey
from tests.divergence.world import _Handler
from tests.queue.queues import answer as logged
from tests.queue.signed_files import write_artifact
from tests.simulator import SimulatedLog

NOW: Final = 1_760_000_000
OUTER: Final = ("east.example", "west.example")
INNER: Final = ("lab.example", "mill.example", "yard.example")
GROWTH: Final = (1, 5, 60, 256, 700)
PRIVATE: Final = "yard-log.example"


class _Server(_Handler):
    """Serves the logs, and takes entries for them."""

    frozen: set[str]

    def do_GET(self) -> None:
        """Answer below the API's path as well as below the log's own prefix."""
        self.path = self.path.replace("/api/v2/", "/", 1)
        super().do_GET()

    def do_POST(self) -> None:
        """Log a request as Rekor v2 does; 405 if the log is frozen, 501 if it is down."""
        name = self.path.split("/", 2)[1]
        request = self.rfile.read(int(self.headers["Content-Length"]))
        if name not in self.logs:
            status, body = 501, b"down"
        elif name in self.frozen:
            status, body = 405, b"frozen"
        else:
            status, body = 201, logged(self.logs[name], request)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def log_server() -> Iterator[tuple[str, dict[str, SimulatedLog], set[str]]]:
    """Serve logs by name; yields the URL, the logs, and the names of those that are frozen."""
    logs: dict[str, SimulatedLog] = {}
    frozen: set[str] = set()
    handler = type("Handler", (_Server,), {"logs": logs, "frozen": frozen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", logs, frozen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Site:
    """What the model knows of one site."""

    name: str
    held: dict[str, int] = field(default_factory=dict)  # by origin, size of the mirror checkpoint
    quarantined: set[str] = field(default_factory=set)  # origins
    items: dict[str, str] = field(default_factory=dict)  # by id, state; of inner sites
    primary: str = "main"  # which backend of the first log is the primary


@dataclass
class Stick:
    """A file that an outer site wrote, and what it can bring."""

    path: Path
    sizes: dict[str, int]  # by origin, head
    bases: dict[str, int]  # by origin, size it continues from
    proofs: frozenset[str]  # ids of items whose proofs are on it


class Life:
    """One life. `step` does one thing and checks it."""

    def __init__(
        self,
        directory: Path,
        capsys: pytest.CaptureFixture[str],
        seed: int,
        served: tuple[str, dict[str, SimulatedLog], set[str]],
    ) -> None:
        self.directory, self.capsys, self.now = directory, capsys, NOW
        self.url, self.logs, self.frozen = served
        self.dice = random.Random(seed)  # noqa: S311 a story, no secret
        self.count = 0
        self.told: list[str] = []  # what happened, for whoever looks at a failure
        self.main, self.other = SimulatedLog("main.example"), SimulatedLog("other.example")
        self.logs.update(main=self.main, copy=self.main, other=self.other)
        self.frozen.clear()
        self.sites = {name: Site(name) for name in (*OUTER, *INNER)}
        self.late: list[tuple[Stick, Site]] = []
        self.at_outer: dict[str, dict[str, str]] = {name: {} for name in OUTER}  # item, state
        self.private_size = 0
        self.private_outside: set[str] = set()  # outer sites that know the private log
        self.is_main_frozen = False
        self.main.grow(40)
        self.other.grow(7)
        self._found()

    # --- commands

    def run(self, site: Site, *words: str | Path, expect: int = 0) -> Any:
        """Run a command, a second later; return its data, or its error if one is expected."""
        self.now += 1
        self.told.append(f"{site.name}: {shlex.join(map(str, words))} -> {expect}")
        dice = random.Random(self.now)  # noqa: S311
        session = Session(
            home=self.directory / site.name,
            now=lambda: self.now,
            sleep=self._pass,
            uptime=lambda: ("boot", self.now - NOW),
            random_bytes=dice.randbytes,
        )
        code = run([*map(str, words), "--json"], session)
        out, _ = self.capsys.readouterr()
        found = json.loads(out)
        assert code == found["exitCode"] == expect, self.story(found)
        return found["error"] if expect else found["data"]

    def _pass(self, seconds: float) -> None:
        """Let time go by: who waits for another attempt gets it, whatever was slow."""
        self.now += max(1, round(seconds))

    def story(self, found: object) -> str:
        """Say what happened until now, and what came last."""
        return "\n".join((*self.told[-25:], json.dumps(found, indent=1)))

    def check(self, truth: object, found: object = "") -> None:
        assert truth, self.story(found)

    # --- the founding

    def _found(self) -> None:
        for name, site in self.sites.items():
            role = "connected" if name in OUTER else "isolated"
            self.run(site, "init", "--site", name, "--role", role)
        vkeys = {
            name: self.run(site, "key", "show", name)["vkey"] for name, site in self.sites.items()
        }
        for name, site in self.sites.items():
            for other in OUTER if name in INNER else INNER:
                self.run(site, "exporters", "add", vkeys[other])
            for backend, log in (("main", self.main), ("other", self.other)):
                self._add(site, backend, log)
        for outer in map(self.sites.__getitem__, OUTER):
            self._add(outer, "copy", self.main, "--mirror-of", "main")
            self.run(outer, "config", "set", "rekor.serverUrl", f"{self.url}/main")
            self.run(outer, "config", "set", "rekor.offline.drainOnConnect", "false")
            self.run(outer, "config", "set", "rekorSync.enableEntrySync", "true")
            self.run(outer, "config", "set", "divergenceDetection.staleTreeSizeThreshold", "3650d")
            self.sync(outer)

    def _add(self, site: Site, backend: str, log: SimulatedLog, *words: str) -> None:
        key = self.directory / f"{log.origin}.vkey"
        key.write_text(log.key.vkey + "\n")
        where = ("--url", f"{self.url}/{backend}") if site.name in OUTER else ()
        named = ("--origin", log.origin, "--public-key", key)
        self.run(site, "backend", "add", backend, *named, *where, *words)

    # --- what can happen

    def step(self) -> None:
        """Let one thing happen, and check all that it touched."""
        chances = {
            self.grow: 4,
            self.sync: 6,
            self.outage: 2,
            self.carry: 8,
            self.late_sticks: 2,
            self.queue: 3,
            self.send_back: 4,
            self.cancel: 1,
            self.drain: 4,
            self.fork: 1,
            self.failover: 1,
            self.rotate: 1,
            self.freeze: 1,
            self.private: 2,
        }
        happening = self.dice.choices(list(chances), list(chances.values()))[0]
        self.told.append(f"-- {happening.__name__}")
        self.now += self.dice.choice((60, 600, 3600, 7200))
        happening()

    def outer(self) -> Site:
        return self.sites[self.dice.choice(OUTER)]

    def inner(self) -> Site:
        return self.sites[self.dice.choice(INNER)]

    def grow(self) -> None:
        for log in (self.main, self.other):
            if not (log is self.main and self.is_main_frozen):
                log.grow(self.dice.choice(GROWTH))

    def sync(self, site: Site | None = None) -> None:
        """An outer site asks its logs: afterwards it holds what they have."""
        site = site or self.outer()
        refused = bool(site.quarantined)
        if refused:
            self.run(site, "sync", "--full", expect=8)
        else:
            self.run(site, "sync", "--full")
        for log in (self.main, self.other):
            if log.origin not in site.quarantined:
                site.held[log.origin] = log.tree_size
        self.holds(site)

    def holds(self, site: Site) -> None:
        """Every size is what the model says, every head is the honest log's, all is proven."""
        found = self.run(site, "sync-status")
        for one in found["backends"]:
            log = next((it for it in (self.main, self.other) if it.origin == one["origin"]), None)
            expected = site.held.get(one["origin"])
            if one["origin"] == PRIVATE:
                continue
            self.check(one["mirrorSize"] == expected, (one, expected))
            is_held = one["health"] == "QUARANTINED"
            self.check(is_held == (one["origin"] in site.quarantined), one)
            # Of a quarantined log some proofs are good, by where it was forked.
            if expected and log is not None and not is_held:
                words = ("--origin", log.origin, "--index", str(self.dice.randrange(expected)))
                proof = self.directory / "proof"
                self.run(site, "prove", *words, "--output", proof)
                proof.unlink()
        lasting = self.run(site, "alerts", "list", "--lasting")["alerts"]
        critical = {one["origin"] for one in lasting if one["severity"] == "critical"}
        # What is wrong with the site itself, such as a queue for a frozen log, names no log.
        self.check(critical - {None} == site.quarantined, lasting)

    def outage(self) -> None:
        """A log is down: that is 7, nothing is lost, and the others go on."""
        site = self.outer()
        if site.quarantined:
            return
        del self.logs["other"]
        self.main.grow(0 if self.is_main_frozen else 3)
        self.run(site, "sync", "--full", expect=7)
        site.held[self.main.origin] = self.main.tree_size
        self.logs["other"] = self.other
        self.holds(site)

    def _export(self, site: Site, *words: str) -> Stick:
        self.count += 1
        path = self.directory / f"stick-{self.count}.tar"
        done = self.run(site, "export", "--output", path, *words)
        logs = {one["origin"]: one for one in done["logs"]}
        self.check(set(logs) >= {o for o, size in site.held.items() if size}, done)
        for origin, one in logs.items():
            if origin != PRIVATE:
                self.check(one["headSize"] == site.held[origin], (one, site))
        here = self.at_outer.get(site.name, {})
        return Stick(
            path,
            {origin: one["headSize"] for origin, one in logs.items() if origin != PRIVATE},
            {o: one["baseSize"] or 0 for o, one in logs.items() if o != PRIVATE},
            frozenset(item for item, state in here.items() if state == "logged"),
        )

    def carry(self) -> None:
        """A stick goes in: it arrives, is lost, comes late, or is imported twice."""
        outer, inner = self.outer(), self.inner()
        if not outer.held:
            return None
        start = self.dice.choice(((), (), (), ("--full",), ("--overlap", "1")))
        entries = self.dice.choice(((), ("--include-entries",)))
        if entries:
            return self._carry_entries(outer, inner)
        stick = self._export(outer, *start)
        fate = self.dice.random()
        if fate < 0.15:
            self.told.append("   lost")
        elif fate < 0.3:
            self.late.append((stick, inner))
        else:
            self.take(outer, inner, stick)
            if fate < 0.5:
                self.take(outer, inner, stick)
        return None

    def _carry_entries(self, outer: Site, inner: Site) -> None:
        """A whole stick with entries: what it brings has no gap in its entries either."""
        self.count += 1
        path = self.directory / f"stick-{self.count}.tar"
        done = self.run(outer, "export", "--output", path, "--include-entries", "--full")
        sizes = {one["origin"]: one["headSize"] for one in done["logs"] if one["origin"] != PRIVATE}
        here = self.at_outer[outer.name]
        proofs = frozenset(item for item, state in here.items() if state == "logged")
        self.take(outer, inner, Stick(path, sizes, dict.fromkeys(sizes, 0), proofs))

    def late_sticks(self) -> None:
        """What was late arrives, in any order."""
        self.dice.shuffle(self.late)
        waiting, self.late = self.late, []
        for stick, inner in waiting:
            self.take(None, inner, stick)

    def take(self, outer: Site | None, inner: Site, stick: Stick) -> None:
        """An inner site imports a stick. If a base is missing, what is printed brings it."""
        gaps = [o for o, base in stick.bases.items() if base > inner.held.get(o, 0)]
        if not gaps:
            self.run(inner, "import", stick.path)
        else:
            error = self.run(inner, "import", stick.path, expect=5)
            self.check(error["reason"] == "missing-base", error)
            self.check(all(f"--origin {origin}" in error["next"] for origin in gaps), error)
        for origin, size in stick.sizes.items():
            if origin not in gaps:
                inner.held[origin] = max(inner.held.get(origin, 0), size)
        if len(gaps) < len(stick.sizes):
            self._proofs(inner, stick)
        self.holds(inner)
        if gaps and outer is not None:  # the courier goes back and does as was printed
            words = shlex.split(error["next"][error["next"].index("attestor export") :])[2:]
            self.count += 1
            path = self.directory / f"stick-{self.count}.tar"
            words[words.index("--output") + 1] = str(path)
            self.run(outer, "export", *words)
            self.run(inner, "import", path)
            for origin in gaps:
                inner.held[origin] = max(inner.held.get(origin, 0), outer.held[origin])
            self._proofs(inner, stick)
            self.holds(inner)

    # --- the queue's round trip

    def _proofs(self, inner: Site, stick: Stick) -> None:
        for item in stick.proofs & inner.items.keys():
            inner.items[item] = "proven-inside"
        self.queue_is(inner)

    def queue_is(self, site: Site) -> None:
        """Every item is in the state that the model says."""
        listed = self.run(site, "queue", "list", "--all")["items"]
        found = {one["id"]: one["state"] for one in listed}
        self.check(found == site.items, (found, site.items))

    def queue(self) -> None:
        """Something signed is queued at an inner site; once more changes nothing."""
        inner = self.inner()
        self.count += 1
        words = write_artifact(self.directory / "signed", f"build {self.count}".encode())
        for _ in range(self.dice.choice((1, 1, 2))):
            item = self.run(inner, "queue", "add", *words)
        inner.items[item["id"]] = "queued"
        self.queue_is(inner)

    def send_back(self) -> None:
        """An inner site's stick goes out: what waits there, and what it holds."""
        inner, outer = self.inner(), self.outer()
        self.count += 1
        path = self.directory / f"stick-{self.count}.tar"
        waiting = {i for i, state in inner.items.items() if state in ("queued", "exported")}
        if not waiting and not any(inner.held.values()):
            return
        self.run(inner, "export", "--no-tiles", "--output", path)
        for item in waiting:
            inner.items[item] = "exported"
        self.queue_is(inner)
        if self.dice.random() < 0.2:
            self.told.append("   lost")
            return
        self.sync(outer)  # a site that is behind the inner one could not place its stick
        self.run(outer, "import", path)
        for item in waiting:
            self.at_outer[outer.name].setdefault(item, "queued")
        self.holds(outer)

    def cancel(self) -> None:
        """What only waits can be cancelled; it does not travel."""
        inner = self.inner()
        waiting = sorted(i for i, state in inner.items.items() if state == "queued")
        if waiting:
            item = self.dice.choice(waiting)
            self.run(inner, "queue", "cancel", item)
            inner.items[item] = "cancelled"
            self.queue_is(inner)

    def drain(self) -> None:
        """An outer site sends what waits: it is logged, or the log is frozen and that is told."""
        outer = self.outer()
        here = self.at_outer[outer.name]
        waiting = [item for item, state in here.items() if state == "queued"]
        if self.is_main_frozen and waiting:
            error = self.run(outer, "queue", "drain", expect=8)
            self.check(f"rekor.serverUrl {self.url}/other" in error["next"], error)
            self.run(outer, "config", "set", "rekor.serverUrl", f"{self.url}/other")
        self.run(outer, "queue", "drain")
        for item in waiting:
            here[item] = "logged"
        states = self.run(outer, "queue", "list", "--all")["items"]
        self.check(all(one["state"] == "logged" for one in states), states)
        # What was logged grew the log: whoever logs keeps up with it.
        self.sync(outer)

    # --- what logs do

    def fork(self) -> None:
        """The copy of a log lies: 4, evidence, quarantine; until somebody lifts it, 8."""
        outer = self.outer()
        if self.is_main_frozen or outer.quarantined or outer.held.get(self.main.origin, 0) < 10:
            return
        self.sync(outer)
        at = self.dice.randrange(1, self.main.tree_size)
        self.logs["copy"] = self.main.fork(at=at)
        self.run(outer, "sync", expect=4)
        outer.quarantined.add(self.main.origin)
        self.logs["copy"] = self.main
        self.holds(outer)
        self.run(outer, "sync", "--full", expect=8)
        [held] = self.run(outer, "quarantine", "list")["quarantines"]
        self.check(held["lastCommonSize"] == at, held)
        self.run(outer, "quarantine", "lift", str(held["id"]), "--reason", "the copy lied")
        outer.quarantined.clear()
        self.sync(outer)

    def failover(self) -> None:
        """The primary is down; the mirror becomes it, and the way back is a failover too."""
        outer = self.outer()
        if outer.quarantined:
            return
        mirror = "copy" if outer.primary == "main" else "main"
        log = self.logs.pop(outer.primary)
        self.run(outer, "sync", "--full", expect=7)
        outer.held.update({one.origin: one.tree_size for one in (self.main, self.other)})
        self.run(outer, "failover", outer.primary, "--to", mirror)
        if outer.primary == "copy":  # on the way back it stays on as the mirror that it was
            self.run(outer, "sync", "--full", expect=7)
        else:
            self.sync(outer)
        self.logs[outer.primary] = log
        self.run(outer, "backend", "enable", outer.primary)
        outer.primary = mirror
        self.sync(outer)

    def rotate(self) -> None:
        """The other log gets a new key: refused until it is pinned; the old one is retired."""
        for outer in map(self.sites.__getitem__, OUTER):
            self.sync(outer)
        self.count += 1
        old = self.other.key.key_id.hex()
        seed = self.count.to_bytes(32, "big")
        self.other.signer = SigningKey(self.other.origin, seed)
        self.other.grow(1)
        outer = self.outer()
        self.run(outer, "sync", "--backend", "other", expect=3)
        self.holds(outer)
        for site in self.sites.values():
            self._add(site, "other", self.other, "--another-key")
        for site in map(self.sites.__getitem__, OUTER):
            self.sync(site)
            self.run(site, "backend", "key", "retire", "other", old, "--reason", "rotated")
            self.sync(site)

    def freeze(self) -> None:
        """The first log takes its last entry; everybody can know from its checkpoint."""
        if self.is_main_frozen or self.count < 6:
            return
        self.main.freeze()
        self.is_main_frozen = True
        self.frozen.update(("main", "copy"))
        for outer in map(self.sites.__getitem__, OUTER):
            self.sync(outer)
            found = self.run(outer, "sync-status")["backends"]
            healths = {one["health"] for one in found if one["origin"] == self.main.origin}
            self.check(healths == {"FROZEN"}, found)

    def private(self) -> None:
        """A log of an inner site's own grows, and is mirrored outside from its sticks."""
        yard, outer = self.sites["yard.example"], self.outer()
        if not self.private_size:
            self.run(yard, "log", "create", "own", "--origin", PRIVATE)
        words = write_artifact(self.directory / "signed", f"own {self.private_size}".encode())
        for _ in range(2):  # the same again is the same entry
            self.run(yard, "log", "add", "--log", "own", *words)
        self.private_size += 1
        [status] = self.run(yard, "log", "status")["logs"]
        self.check(status["treeSize"] == self.private_size, status)
        if outer.name not in self.private_outside:
            key = self.directory / "private.vkey"
            key.write_text(self.run(yard, "key", "show", PRIVATE)["vkey"] + "\n")
            named = ("--origin", PRIVATE, "--public-key", key)
            self.run(outer, "backend", "add", "yard-log", *named)
            self.private_outside.add(outer.name)
        self.count += 1
        path = self.directory / f"stick-{self.count}.tar"
        whole = ("--backend", "own", "--full", "--include-entries", "--no-pending")
        self.run(yard, "export", *whole, "--output", path)
        self.run(outer, "import", path)
        found = self.run(outer, "sync-status", "--backend", "yard-log")["backends"]
        self.check(found[0]["mirrorSize"] == self.private_size, found)

    def end(self) -> None:
        """Everything that was queued and not cancelled is proven inside in the end."""
        self.late_sticks()
        for inner in map(self.sites.__getitem__, INNER):
            waiting = {i for i, state in inner.items.items() if state in ("queued", "exported")}
            outer = self.outer()
            if waiting:
                self.count += 1
                path = self.directory / f"stick-{self.count}.tar"
                self.run(inner, "export", "--no-tiles", "--output", path)
                inner.items.update(dict.fromkeys(waiting, "exported"))
                self.sync(outer)
                self.run(outer, "import", path)
                for item in waiting:
                    self.at_outer[outer.name].setdefault(item, "queued")
                if self.is_main_frozen:
                    self.run(outer, "config", "set", "rekor.serverUrl", f"{self.url}/other")
                self.run(outer, "queue", "drain")
                self.at_outer[outer.name].update(dict.fromkeys(waiting, "logged"))
            self.sync(outer)
            self.take(outer, inner, self._export(outer, "--full"))
            self.check(
                {*inner.items.values()} <= {"proven-inside", "cancelled"},
                inner.items,
            )
            self.check(inner.held == outer.held, (inner.held, outer.held))
        for site in self.sites.values():
            self.run(site, "store", "check", "--read-data")
            self.run(site, "journal", "verify")
