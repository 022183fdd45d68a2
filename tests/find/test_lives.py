"""Random lives of a mirror and its index, compared with reading the log: never a false answer.

A few lives always; with ATTESTOR_SOAK=1 five hundred, with ATTESTOR_LIVES=7-9 those. Each is
repeatable by its seed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.errors import ApplianceError, StoreError
from appliance.jobs.find.criteria import Criteria
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.progress import unseen
from appliance.runs.exit_codes import exit_code
from appliance.runs.find import (
    Query,
    build_index,
    check_index,
    delete_index,
    rebuild_index,
    search_entries,
)
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.find.index import Index, index_path
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import cached_entry_bundles, forget
from appliance.tlog.tile import EntryBundle
from tests.find.copied_sites import CopiedSites, template  # noqa: F401 a fixture
from tests.find.logged import leaf
from tests.mirror.mirrors import sync_from
from tests.rig.dying import die_at_write
from tests.transfer.sites import INSIDE, OUTSIDE, Sites

SOAK: Final = os.environ.get("ATTESTOR_SOAK") == "1"
FIRST, _, LAST = os.environ.get("ATTESTOR_LIVES", "0-499" if SOAK else "1-3").partition("-")
SEEDS: Final = range(int(FIRST), int(LAST or FIRST) + 1)
STEPS: Final = 14
ROOMY: Final = 256 * 1024 * 1024  # bytes of a disk that is not full
NAMES: Final = tuple(f"n{at}@example.com" for at in range(24))
KINDS: Final = 300  # different digests, so that some are there twice and some never
_told: Counter[str] = Counter()  # what the lives went through, printed at the end


@pytest.fixture(scope="module")
def signed() -> tuple[dict[str, Any], ...]:
    """An entry of each name; its digest is changed, which nobody verifies when finding."""
    return tuple(json.loads(leaf(name)) for name in NAMES)


class Life:
    """A log, an outer site and an inner one with an index, and what is true of the log."""

    def __init__(
        self, sites: Sites, signed: tuple[dict[str, Any], ...], seed: int, disk: Path | None
    ) -> None:
        self.sites = sites
        self.disk = disk  # that it is on, if it can be filled
        self.signed = signed
        self.random = random.Random(seed)  # noqa: S311 repeatable
        self.truth: list[tuple[str, bytes]] = []  # name and digest of each entry; "": unreadable
        self.sticks: list[Path] = []
        self.is_index_damaged = False
        self.damaged: Path | None = None  # the blob that is, and what it held
        self.held = b""

    @property
    def session(self) -> Session:
        return Session(home=self.sites.home(INSIDE), now=lambda: self.sites.now)

    @contextmanager
    def mirror(self) -> Iterator[Mirror]:
        with closing(open_store(self.sites.home(INSIDE), write=True)) as store:
            yield Mirror(store, require_log(store, self.sites.log.origin))

    # What happens.

    def grow(self) -> None:
        bodies = []
        for _ in range(self.random.choice((1, 5, 100, 256, 300))):
            at = self.random.randrange(len(NAMES))
            digest = sha256(b"%d" % self.random.randrange(KINDS)).digest()
            if self.random.random() < 0.001:
                bodies.append(b"anything %d" % len(self.truth))
                self.truth.append(("", b""))
                continue
            body = json.loads(json.dumps(self.signed[at]))
            body["spec"]["hashedRekordV002"]["data"]["digest"] = b64encode(digest).decode()
            bodies.append(json.dumps(body).encode())
            self.truth.append((NAMES[at], digest))
        self.sites.log.grow(bodies)

    def sync(self) -> None:
        wanted = Wanted(
            tiles=self.random.random() < 0.8,
            entries=self.random.random() < 0.8,
            limit=self.random.choice((None, None, 1, 3)),
        )
        self.sites.now += 60
        with self.mirror() as mirror:
            sync_from(mirror, self.sites.log, wanted, now=self.sites.now)

    def export(self) -> None:
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

    def build(self) -> None:
        build_index(self.session, (), self.random.choice((None, 1, 2)), unseen)

    def rebuild(self) -> None:
        rebuild_index(self.session, unseen)
        self.is_index_damaged = False

    def drop(self) -> None:
        delete_index(self.session)
        self.is_index_damaged = False

    def kill(self) -> None:
        """Build in a process that dies at a write, and leaves what it leaves."""
        at = self.random.randrange(1, 120)
        child = os.fork()
        if child == 0:
            try:
                die_at_write(Index, at, "_execute", "_execute_many")
                self.build()
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    def fill_the_disk(self) -> None:
        """Index or sync with room for a few pages more, in a process that may die of it."""
        if self.disk is None:
            return
        action = self.random.choice((self.build, self.build, self.build, self.sync))
        if self.random.random() < 0.7:
            self.drop()
        found = os.statvfs(self.disk)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        _resize(self.disk, used + self.random.choice((0, 1, 4, 12, 24, 48, 96)) * 4096)
        child = os.fork()
        if child == 0:
            how = 1
            try:
                action()
                how = 0
            except ApplianceError as error:
                how = exit_code(error)
            finally:
                os._exit(how)
        _, status = os.waitpid(child, 0)
        _resize(self.disk, ROOMY)
        self.sites.now += 60  # which a sync in the other process said
        # SQLite dies of SIGBUS where a file that is mapped to memory cannot grow.
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 5, 6, -signal.SIGBUS), (action.__name__, code)
        _told[f"{action.__name__} on a disk that gets full: {code}"] += 1

    def prune(self) -> None:
        with self.mirror() as mirror:
            stored = [one.place for one in cached_entry_bundles(mirror.store, mirror.log)]
            some = [one for one in stored if isinstance(one, EntryBundle)]
            if some:
                forget(mirror, [self.random.choice(some)])

    def damage_index(self) -> None:
        """Cut the index short, put another file in its place, or turn a bit."""
        path = index_path(self.sites.home(INSIDE))
        if not path.is_file():
            return
        raw = bytearray(path.read_bytes())
        how = self.random.choice(("short", "empty", "text", "bit", "bit"))
        if how == "bit" and raw:
            raw[self.random.randrange(len(raw))] ^= 1 << self.random.randrange(8)
            self.is_index_damaged = True
        elif how == "short":
            raw = raw[: self.random.randrange(len(raw) + 1)]
            self.is_index_damaged = True
        else:
            raw = bytearray(b"" if how == "empty" else b"not a database, surely" * 99)
        path.write_bytes(raw)

    def foreign_index(self) -> None:
        """Put the index of the other site in the place of ours."""
        outer = Session(home=self.sites.home(OUTSIDE), now=lambda: self.sites.now)
        build_index(outer, (), None, unseen)
        shutil.copyfile(index_path(self.sites.home(OUTSIDE)), index_path(self.sites.home(INSIDE)))
        self.is_index_damaged = False

    def damage_bundle(self) -> None:
        """Turn a bit of a stored entry bundle, until somebody looks."""
        with self.mirror() as mirror:
            stored = [one.digest for one in cached_entry_bundles(mirror.store, mirror.log)]
            file = mirror.store.blobs.file(self.random.choice(stored)) if stored else None
        if file is None:
            return
        self.damaged, self.held = file.path, file.path.read_bytes()
        raw = bytearray(self.held)
        raw[self.random.randrange(len(raw))] ^= 1
        file.path.chmod(0o600)
        file.path.write_bytes(raw)

    def heal(self) -> None:
        if self.damaged is not None and self.damaged.exists():
            self.damaged.write_bytes(self.held)
        self.damaged = None

    def live(self) -> None:
        actions = (
            *(self.grow, self.grow, self.sync, self.sync, self.export, self.bring, self.bring),
            *(self.build, self.build, self.build, self.rebuild, self.drop, self.kill),
            *(self.kill, self.prune, self.damage_index, self.foreign_index, self.damage_bundle),
            self.fill_the_disk,
        )
        self.grow()
        self.sync()
        self.build()
        for _ in range(STEPS):
            action = self.random.choice(actions)
            _told[action.__name__] += 1
            try:
                action()
            except StoreError:
                assert self.damaged or action.__name__ in ("build", "kill"), action.__name__
            for rescan in (False, True):
                self.ask(rescan)
            if self.damaged:
                self.heal()

    # What must be true.

    def ask(self, rescan: bool) -> None:
        digest = sha256(b"%d" % self.random.randrange(KINDS + 3)).digest()
        name = self.random.choice((*NAMES, "nobody@example.com"))
        by_digest = self.random.random() < 0.5
        criteria = Criteria(digests=(digest,)) if by_digest else Criteria(identities=(name,))
        truth = [
            at
            for at, (who, what) in enumerate(self.truth)
            if (what == digest if by_digest else who == name)
        ]
        try:
            run = search_entries(
                self.session, Query(criteria, rescan=rescan, limit=100_000), unseen
            )
        except ApplianceError as error:
            self.judge_error(error, rescan)
            return
        [one] = run.found.coverage
        hits = [hit.entry_index for hit in run.found.hits]
        with self.mirror() as mirror:
            accepted = mirror.history.accepted()
            stored = {
                at
                for bundle in cached_entry_bundles(mirror.store, mirror.log)
                for at in range(
                    bundle.place.index * 256, bundle.place.index * 256 + bundle.place.width
                )
            }
        size = accepted.head.tree_size if accepted else 0
        # Nothing is invented, and all that was looked at and all that was not is the whole tree.
        assert set(hits) <= set(truth) and hits == sorted(hits)
        parts = sorted([*one.ranges, *((gap.start, gap.stop) for gap in one.gaps)])
        assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])][: len(parts)]
        assert (parts[-1][1] if parts else 0) == size
        for gap in one.gaps:
            if gap.why == "no-entry-bundles":
                assert not all(at in stored for at in range(gap.start, gap.stop))
        looked = {at for start, stop in one.ranges for at in range(start, stop)}
        missed = [at for at in truth if at in looked and at not in hits]
        if missed and self.is_index_damaged and not rescan:
            # A bit turned in the index can hide an entry: then looking at the index says so.
            _told["hidden by a damaged index, and found by index check"] += 1
            with pytest.raises(StoreError):
                check_index(self.session, 1, unseen)
            self.rebuild()
            return
        assert missed == []
        unread = {at for at in looked if not self.truth[at][0]}
        assert {at for at, _ in one.opaque} & looked == unread or self.is_index_damaged
        codes = {exit_code(error) for error in run.errors}
        complete = size > 0 and looked == set(range(size)) and not unread
        if not self.is_index_damaged:
            assert run.found.is_complete == complete
        assert codes == (set() if hits or run.found.is_complete else {5})
        answer = "found" if hits else "not logged" if run.found.is_complete else "incomplete"
        _told[f"answer: {answer}, {one.basis}"] += 1
        if answer == "not logged":
            assert not [at for at in truth if at < size]

    def judge_error(self, error: ApplianceError, rescan: bool) -> None:
        code = exit_code(error)
        _told[f"answer: {error.reason}"] += 1
        if rescan:
            assert code == 6 and self.damaged, error
        elif code == 5:
            assert error.reason == "no-index", error
        else:
            assert code == 6, error
            if not self.damaged:  # it is the index, and another one is better
                self.rebuild()


@pytest.fixture(scope="module", autouse=True)
def say_what_was_lived() -> Iterator[None]:
    _told.clear()
    yield
    for name, n in sorted(_told.items()):
        sys.stdout.write(f"{n:7,}  {name}\n")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk that can be filled; None where the kernel lets us mount none."""
    root = tmp_path / "disk"
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(root)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    yield root if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(root)], check=True)


def _resize(disk: Path, n_bytes: int) -> None:
    options = f"remount,size={n_bytes}"
    subprocess.run(["mount", "-o", options, str(disk)], check=True, capture_output=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_life_ends_in_a_false_answer(
    template: Path,  # noqa: F811
    tmp_path: Path,
    disk: Path | None,
    capsys: pytest.CaptureFixture[str],
    signed: tuple[dict[str, Any], ...],
    seed: int,
) -> None:
    Life(CopiedSites(template, disk or tmp_path, capsys), signed, seed, disk).live()
    if disk is None:
        shutil.rmtree(tmp_path)
