"""Random lives of watches: whatever happens, each entry that meets one is told once, and only once.

Imports in any order, prunes, damage, kills at any write, sinks that are down. A few lives always;
with ATTESTOR_SOAK=1 two hundred. Each is repeatable by its seed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.jobs.find import watching
from appliance.jobs.mirror.fill import Wanted
from appliance.store.database import Store, open_store
from appliance.store.find.index import index_path
from appliance.store.find.watches import all_watches, behind
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import cached_entry_bundles, forget
from appliance.tlog.tile import EntryBundle
from tests.find.copied_sites import CopiedSites, template  # noqa: F401 a fixture
from tests.find.logged import instance, key_leaf, leaf
from tests.mirror.mirrors import sync_from
from tests.pki.authorities import new_key, spki
from tests.rig.dying import die_at_write
from tests.transfer.sites import INSIDE, OUTSIDE, Sites

SOAK: Final = os.environ.get("ATTESTOR_SOAK") == "1"
SEEDS: Final = range(200) if SOAK else (3, 8)
STEPS: Final = 16
DAY: Final = 86_400
HOUR: Final = 3_600
ISSUER: Final = "https://issuer.example"
OURS, LATE, MANY, FORGED, RELEASE = (
    f"{name}@example.com" for name in ("ours", "late", "many", "forged", "release")
)
_lived: Counter[str] = Counter()  # what the lives went through, printed at the end


class Life:
    """A log, sticks that come in any order, and an inner home whose watches look at it."""

    def __init__(self, sites: Sites, seed: int) -> None:
        self.sites, self.random = sites, random.Random(seed)  # noqa: S311 repeatable
        self.key = new_key()
        self.others = [key_leaf(b"of nobody %d" % at) for at in range(4)]
        self.truth: list[str] = []  # by whom each entry is; "": it is none
        self.releases: dict[int, str] = {}  # digests of the entries by RELEASE
        self.expected: set[int] = set()
        self.sticks: list[Path] = []
        self.damaged: tuple[Path, bytes] | None = None
        self.sink = sites.directory / "sink"
        self.sink.mkdir()
        root = sites.directory / "root.json"
        root.write_text(json.dumps(instance().root()))
        self.inside("trust", "import", root)
        told = [{"type": "file", "path": str(self.sink / "told.jsonl")}]
        self.inside("config", "set", "alerts.sinks", json.dumps(told))
        self.inside("config", "set", "watch.maxEntriesPerAlert", "1000")
        self.wanted = {"ours": OURS, "many": MANY, "forged": FORGED, "key": "key"}
        self.inside("watch", "add", "ours", "--identity-exact", OURS)
        self.inside("watch", "add", "many", "--identity", "^m[a-z]+@", "--severity", "critical")
        self.inside("watch", "add", "forged", "--identity-exact", FORGED)
        fingerprint = sha256(spki(self.key)).hexdigest()
        self.inside("watch", "add", "key", "--fingerprint", fingerprint)
        required = ("--expectations", "required", "--grace", "1h")
        self.inside("watch", "add", "release", "--identity-exact", RELEASE, *required)

    def inside(self, *words: str | Path) -> Any:
        """Run a command that succeeds at the inner home."""
        return self.sites.json(INSIDE, *words)

    def mirror(self) -> Any:
        return closing(open_store(self.sites.home(INSIDE), write=True))

    # What happens.

    def grow(self) -> None:
        bodies = []
        for _ in range(self.random.choice((1, 7, 60, 256, 300))):
            at, chance = len(self.truth), self.random.random()
            who = "nobody"
            body = self.random.choice(self.others)
            for limit, name in ((0.02, OURS), (0.04, LATE), (0.06, MANY), (0.07, FORGED)):
                if chance < limit:
                    who, body = name, leaf(name, b"%d" % at, other=name == FORGED)
                    break
            else:
                if chance < 0.09:
                    who, body = "key", key_leaf(b"%d" % at, self.key)
                elif chance < 0.11:
                    who, body = RELEASE, leaf(RELEASE, b"%d" % at)
                    self.releases[at] = sha256(b"%d" % at).hexdigest()
                elif chance < 0.115:
                    who, body = "", b"anything %d" % at
            self.truth.append(who)
            bodies.append(body)
        self.sites.log.grow(bodies)

    def carry(self) -> None:
        """Write a stick outside, of everything or of what is new."""
        self.sites.grow(0)
        stick = self.sites.stick(f"{len(self.sticks)}.tar")
        base = self.random.choice(("all", "exports:1"))
        words = ("export", "--include-entries", "--base", base, "--output", stick)
        if self.sites.answer(OUTSIDE, *words)["exitCode"] == 0:
            self.sticks.append(stick)

    def bring(self) -> None:
        """Import any of the sticks, in any order; one that comes too early is left."""
        if self.sticks:
            answer = self.sites.answer(INSIDE, "import", self.random.choice(self.sticks))
            assert answer["exitCode"] in (0, 5, 6), answer
            if answer["exitCode"] == 0 and self.damaged is None:
                self.look_whether_a_match_stopped_it()

    def mirror_only(self) -> None:
        """Mirror, in any part, and die before anything was compared."""
        wanted = Wanted(
            tiles=self.random.random() < 0.8,
            entries=self.random.random() < 0.8,
            limit=self.random.choice((None, None, 1, 3)),
        )
        with self.mirror() as store:
            mirror = Mirror(store, require_log(store, self.sites.log.origin))
            sync_from(mirror, self.sites.log, wanted, now=self.sites.now)

    def scan(self) -> None:
        more = self.random.choice(((), (), ("--rescan",)))
        answer = self.sites.answer(INSIDE, "watch", "scan", *more)
        assert answer["exitCode"] == (6 if self.damaged and answer["exitCode"] else 0), answer

    def kill(self) -> None:
        """Compare or tell in a process that dies at a statement, and leaves what it leaves."""
        at = self.random.randrange(1, self.random.choice((15, 60, 200)))
        scan, send = ("watch", "scan"), ("alerts", "send")
        stick = self.random.choice(self.sticks) if self.sticks else None
        some: tuple[tuple[str | Path, ...], ...] = (
            (scan, send, ("import", stick)) if stick else (scan,)
        )
        words = self.random.choice(some)
        child = os.fork()
        if child == 0:
            try:
                die_at_write(Store, at, "execute", "execute_many")
                self.sites.answer(INSIDE, *words)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        _lived[f"killed: {words[0]}" if os.WEXITSTATUS(status) == 9 else "not killed in time"] += 1

    def turn_the_sink(self) -> None:
        """Take the sink away, or put it back."""
        away = self.sink.with_name("away")
        if self.sink.exists():
            self.sink.rename(away)
        else:
            away.rename(self.sink)

    def send(self) -> None:
        self.sites.answer(INSIDE, "alerts", "send")

    def wait(self) -> None:
        self.sites.now += self.random.choice((600, HOUR, DAY))

    def prune(self) -> None:
        with self.mirror() as store:
            mirror = Mirror(store, require_log(store, self.sites.log.origin))
            stored = [one.place for one in cached_entry_bundles(store, mirror.log)]
            some = [one for one in stored if isinstance(one, EntryBundle)]
            if some:
                forget(mirror, [self.random.choice(some)])

    def damage(self) -> None:
        """Turn a bit of a stored entry bundle."""
        self.heal()
        with self.mirror() as store:
            log = require_log(store, self.sites.log.origin)
            stored = [one.digest for one in cached_entry_bundles(store, log)]
            file = store.blobs.file(self.random.choice(stored)) if stored else None
        if file is None:
            return
        held = file.path.read_bytes()
        raw = bytearray(held)
        raw[self.random.randrange(len(raw))] ^= 1
        file.path.chmod(0o600)
        file.path.write_bytes(raw)
        self.damaged = (file.path, held)

    def heal(self) -> None:
        if self.damaged is not None:
            path, held = self.damaged
            if path.exists():
                path.write_bytes(held)
            self.damaged = None

    def build_index(self) -> None:
        self.sites.answer(INSIDE, "index", "build")

    def lose_index(self) -> None:
        """Delete the index, or cut it short."""
        path = index_path(self.sites.home(INSIDE))
        if path.is_file():
            raw = path.read_bytes()
            path.write_bytes(raw[: len(raw) // 2]) if self.random.random() < 0.5 else path.unlink()

    def add_late(self) -> None:
        """Add a watch in the middle of it all, which has to look at the past."""
        if "late" not in self.wanted:
            words = ("watch", "add", "late", "--identity-exact", LATE)
            answer = self.sites.answer(INSIDE, *words)
            assert answer["exitCode"] == (6 if self.damaged and answer["exitCode"] else 0), answer
            self.wanted["late"] = LATE

    def expect(self) -> None:
        """Expect some releases, before, while and after they are logged."""
        for at in self.random.sample(range(len(self.truth) + 300), 40):
            digest = self.releases.get(at, sha256(b"%d" % at).hexdigest())
            words = ("--identity-exact", RELEASE, "--issuer", ISSUER)
            if at in self.releases or self.random.random() < 0.1:
                self.sites.answer(INSIDE, "expected", "add", "--digest", digest, *words)
                self.expected.add(at)

    def live(self) -> None:
        actions = (
            *(self.grow, self.grow, self.grow, self.carry, self.carry, self.carry),
            *(self.bring, self.bring, self.bring),
            *(self.mirror_only, self.scan, self.kill, self.kill, self.kill, self.turn_the_sink),
            *(self.send, self.wait, self.prune, self.damage, self.heal, self.build_index),
            *(self.lose_index, self.add_late, self.expect),
        )
        for _ in range(3):
            self.grow()
            self.carry()
        for _ in range(STEPS):
            action = self.random.choice(actions)
            _lived[action.__name__] += 1
            action()
            self.look_whether_anything_is_told_twice()
        self.settle()
        self.judge()

    # What must be true.

    def settle(self) -> None:
        """Let everything be whole, mirrored, compared and told."""
        self.heal()
        if not self.sink.exists():
            self.turn_the_sink()
        index_path(self.sites.home(INSIDE)).unlink(missing_ok=True)
        self.add_late()
        with self.mirror() as store:
            mirror = Mirror(store, require_log(store, self.sites.log.origin))
            sync_from(mirror, self.sites.log, Wanted(entries=True), now=self.sites.now)
        self.inside("watch", "scan")
        self.look_whether_a_match_stopped_it()
        for _ in range(3):  # a grace and a day are over, and a sink is tried again
            self.sites.now += DAY + HOUR
            self.inside("watch", "scan")
            self.inside("alerts", "send")

    def look_whether_a_match_stopped_it(self) -> None:
        """All that is mirrored was compared, whatever was found."""
        with self.mirror() as store:
            log = require_log(store, self.sites.log.origin)
            assert [behind(store, one, log) for one in all_watches(store)] == [0] * len(
                all_watches(store)
            )

    def alerts(self) -> list[dict[str, Any]]:
        found = self.inside("alerts", "list")["alerts"]
        return [
            one["payload"] for one in found if one["payload"]["eventType"].startswith("rekor.e")
        ]

    def told(self) -> Counter[tuple[str, str | None, int]]:
        """Count what alerts say of each entry, by event and watch."""
        return Counter(
            (one["eventType"], one.get("watch"), entry["index"])
            for one in self.alerts()
            for entry in one["entries"]
        )

    def look_whether_anything_is_told_twice(self) -> None:
        assert [one for one, n in self.told().items() if n > 1] == []

    def judge(self) -> None:
        told = self.told()
        assert set(told.values()) <= {1}
        assert all(one["moreEntries"] == 0 for one in self.alerts())
        expected: set[tuple[str, str | None, int]] = set()
        for watch, who in self.wanted.items():
            event = "rekor.entry.claimed" if watch == "forged" else "rekor.entry.matched"
            expected |= {(event, watch, at) for at, one in enumerate(self.truth) if one == who}
        expected |= {
            ("rekor.entry.undecided", None, a) for a, one in enumerate(self.truth) if not one
        }
        unexpected = {one for one in told if one[0] == "rekor.entry.unexpected"}
        assert set(told) - unexpected == expected
        # Whoever was never expected is told, once; who was, in time or late, is expected now.
        never = self.releases.keys() - self.expected
        assert {at for _, _, at in unexpected} >= never
        matches = self.inside("watch", "matches", "release")["matches"]
        findings = {one["index"]: one["finding"] for one in matches}
        assert findings == {at: "unexpected" if at in never else "expected" for at in self.releases}
        lasting = self.inside("alerts", "list", "--lasting")["alerts"]
        lasts = {
            entry["index"]
            for one in lasting
            if one["payload"]["eventType"] == "rekor.entry.unexpected"
            for entry in one["payload"]["entries"]
        }
        assert never <= lasts
        # What was told while the sink was down reached it later.
        lines = (self.sink / "told.jsonl").read_text().splitlines() if told else []
        sunk = {json.loads(line)["id"] for line in lines}
        raised = self.inside("alerts", "list")["alerts"]
        assert {one["id"] for one in raised if one["severity"] != "info"} <= sunk
        _lived["entries that were told"] += len(told)
        _lived["unexpected"] += len(unexpected)


@pytest.fixture(scope="module", autouse=True)
def say_what_was_lived() -> Iterator[None]:
    _lived.clear()
    yield
    for name, n in sorted(_lived.items()):
        sys.stdout.write(f"{n:7,}  {name}\n")


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_each_entry_is_told_once(
    template: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    # An index is asked for much of the past; here some hundred entries are much.
    monkeypatch.setattr(watching, "READ_AT_MOST", 300)
    Life(CopiedSites(template, tmp_path, capsys), seed).live()
    shutil.rmtree(tmp_path)
