"""A life of a home in simulated time: what it keeps, what it tells, and what time it says it is.

Two weeks always; with ATTESTOR_SOAK=1 a year (or ATTESTOR_DAYS) with a sync an hour, and a week
at five minutes.
A story has a key that is rotated, a shard that is retired, three outages, and a clock that goes
wrong twice; every week a stick goes to a second home. What is to be told is known at each step.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.store.blob_place import BLOBS_NAME
from appliance.store.database import DATABASE_NAME, open_store
from appliance.store.divergence.alerts import alerts
from appliance.store.references import named_blobs
from appliance.tlog.note import SigningKey
from tests.divergence.conftest import server
from tests.divergence.world import DAY, HOUR, MINUTE, NOW, World
from tests.simulator import SimulatedLog

__all__ = ["server"]

IS_YEAR: Final = os.environ.get("ATTESTOR_SOAK") == "1"
DAYS: Final = int(os.environ.get("ATTESTOR_DAYS", "365")) if IS_YEAR else 14
STEP: Final = HOUR if IS_YEAR else 4 * HOUR
STALE, DEGRADED, UNHEALTHY = HOUR, 30 * MINUTE, 2 * HOUR  # the defaults
OUTAGES: Final = ((0.10, 3 * HOUR), (0.45, 26 * HOUR), (0.80, 50 * HOUR))  # since when, how long
ROTATED, SHUT, BUSY, SET_BACK, AHEAD = 0.20, 0.30, 0.58, 0.35, 0.75
SLACK: Final = 1.2  # how much more than what is needed the disk may hold
OTHER: Final = "inside"


def times_of(home: Path) -> dict[tuple[object, ...], int]:
    """Return every time in the store of a home, by table, column and row."""
    found: dict[tuple[object, ...], int] = {}
    with closing(sqlite3.connect(f"file:{home / DATABASE_NAME}?mode=ro", uri=True)) as database:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite%'"
        for (table,) in database.execute(tables).fetchall():
            columns = database.execute(f"SELECT * FROM pragma_table_info('{table}')").fetchall()  # noqa: S608 ours
            keys = [one[1] for one in columns if one[5]] or ["rowid"]
            whens = [one[1] for one in columns if one[1] == "at" or one[1].endswith("_at")]
            if whens and table != "_sqlite_migrations":
                names = ", ".join(keys + whens)
                for row in database.execute(f"SELECT {names} FROM {table}"):  # noqa: S608 ours
                    place = (table, *row[: len(keys)])
                    for name, at in zip(whens, row[len(keys) :], strict=True):
                        if isinstance(at, int):
                            found[(*place, name)] = at
    return found


def disk(home: Path) -> tuple[int, int]:
    """Return how many bytes a home takes up, and how many its content needs."""
    held = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    with closing(open_store(home, write=False)) as store:
        sizes = {
            one.digest: store.blobs.path(one.digest).stat().st_size for one in named_blobs(store)
        }
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "copy.db"
        with closing(sqlite3.connect(home / DATABASE_NAME)) as database:
            database.execute("VACUUM INTO ?", [str(copy)])
        needed = copy.stat().st_size + sum(sizes.values())
    rest = [home / one for one in (DATABASE_NAME, BLOBS_NAME)]
    needed += sum(
        path.stat().st_size
        for path in home.rglob("*")
        if path.is_file() and not any(path == one or one in path.parents for one in rest)
    )
    return held, needed


def rows_of(home: Path) -> dict[str, int]:
    """Count the rows of each table that has many."""
    with closing(sqlite3.connect(f"file:{home / DATABASE_NAME}?mode=ro", uri=True)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        counts = {
            name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608 ours
            for (name,) in tables
        }
    return {name: count for name, count in counts.items() if count > 20}


class Life:
    """The two homes, their logs, and what is to be told at any moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = random.Random(365)  # noqa: S311 the same life each time
        self.end = NOW + DAYS * DAY
        self.at = NOW  # what time it is; world.now is what the clock says
        self.answered_at = NOW  # when the log did last
        self.busy = False
        self.is_set_back = self.is_ahead = False
        self.before: dict[Path, dict[tuple[object, ...], int]] = {}
        self.outages_told = 0
        self.retired = ""  # the key id of the log's first key
        self.n_syncs = 0
        self.inside = world.directory / OTHER
        self.shard = SimulatedLog("shard.example")
        world.log.grow(500)
        self.shard.grow(500)
        world.add("shard", self.shard)
        self.answer("init", "--site", "inside.example", "--role", "isolated")
        for name in ("primary", "shard"):
            log = world.server.logs[name]
            key = world.directory / f"{name}.vkey"
            self.answer("backend", "add", name, "--origin", log.origin, "--public-key", key)
        outside = world.cli("key", "show", "site.example")["data"]["vkey"]
        inside = self.answer("key", "show", "inside.example")["vkey"]
        self.answer("exporters", "add", outside)
        world.cli("exporters", "add", inside)

    def answer(self, *words: str | Path) -> dict[str, Any]:
        """Run a command inside that succeeds; return its data."""
        code = run([*map(str, words), "--json"], Session(self.inside, now=lambda: self.at))
        found = json.loads(self.world.capsys.readouterr().out)
        assert code == 0, (words, found["error"])
        data: dict[str, Any] = found["data"]
        return data

    def part(self, share: float) -> int:
        """Return the moment at which so much of this life is over, on a step."""
        return NOW + int(share * DAYS * DAY) // STEP * STEP

    def is_out(self) -> bool:
        return any(self.part(start) < self.at <= self.part(start) + long for start, long in OUTAGES)

    # What happens.

    def live(self) -> None:
        """Let all of it happen, step by step."""
        weeks = 0
        while self.at < self.end:
            self.busy = IS_YEAR and 0 <= self.at - self.part(BUSY) < 7 * DAY
            self.at += 5 * MINUTE if self.busy else STEP
            self.events()
            self.sync()
            if (self.at - NOW) // (7 * DAY) > weeks:
                weeks += 1
                self.carry(weeks)
            if (self.at - NOW) % DAY < STEP:
                self.check_times(self.world.home)
        for home in (self.world.home, self.inside):
            self.check_times(home)

    def events(self) -> None:
        world, at = self.world, self.at
        if at == self.part(ROTATED):
            old = world.log.signer
            world.log.signer = SigningKey(world.log.origin, b"r" * 32)
            world.add("primary", world.log, "--another-key")
            key = world.directory / "primary.vkey"
            where = ("--origin", world.log.origin, "--public-key", key)
            self.answer("backend", "add", "primary", *where, "--another-key")
            self.retired = old.verifier.key_id.hex()
        if at == self.part(ROTATED) + STEP:
            world.cli("backend", "key", "retire", "primary", self.retired, "--reason", "rotated")
        if at == self.part(SHUT):
            self.shard.freeze()
        world.serve("primary", None if self.is_out() else world.log)
        self.is_set_back = 0 <= at - self.part(SET_BACK) < 2 * STEP
        is_ahead = 0 <= at - self.part(AHEAD) < 2 * STEP
        error = -3 * DAY if self.is_set_back else 2 * DAY if is_ahead else 0
        world.now = at + error
        if self.is_ahead and not is_ahead:
            # It is right again, and our own records say that it is too early.
            world.cli("sync", expect=0)
            self.expect(2, {"HomeUnhealthy"})
            world.cli("doctor", "--reset-clock", "the battery was replaced")
            self.before.pop(world.home, None)
        self.is_ahead = is_ahead

    def sync(self) -> None:
        """Let the logs grow, sync, and compare what is told with what is to be told."""
        world, is_out = self.world, self.is_out()
        world.log.grow(1 + self.random.randrange(12))
        if self.at < self.part(SHUT):
            self.shard.grow(1 + self.random.randrange(4))
        world.cli("sync", "--full-tiles", "--entries", expect=7 if is_out else 0)
        self.n_syncs += 1
        if not is_out:
            self.answered_at = self.at
        age = self.at - self.answered_at
        expected = {"StaleCheckpoint", "StaleTreeSize"} if age > UNHEALTHY else set()
        if STALE < age <= UNHEALTHY:
            expected = {"StaleCheckpoint"}
        code = 2 if age > UNHEALTHY else 1 if age > DEGRADED else 0
        if age > DAY:
            expected.add("HomeUnhealthy")
        if self.is_set_back:
            code, expected = 2, {"HomeUnhealthy"}
        self.expect(code, expected)
        self.outages_told += is_out and age - HOUR <= STALE < age

    def expect(self, code: int, types: set[str]) -> None:
        """Compare check, the alerts that last, and the exit code, with what is to be told."""
        self.world.cli("check", expect=code)
        with closing(open_store(self.world.home, write=False)) as store:
            lasting = {one.type for one in alerts(store, lasting=True)}
        assert lasting == types, (self.at - NOW, lasting, types)

    def carry(self, week: int) -> None:
        """Take a stick inside, and the receipt of it back."""
        stick = self.world.directory / f"stick-{week}.tar"
        self.world.cli("export", "--include-entries", "--output", stick)
        self.answer("import", stick)
        receipt = max((self.inside / "receipts").iterdir(), key=lambda one: one.stat().st_mtime)
        self.world.cli("receipt", "accept", receipt)
        self.answer("check")
        stick.unlink()
        self.check_times(self.inside)

    # What must be true.

    def check_times(self, home: Path) -> None:
        """No stored time is older than it was."""
        now, before = times_of(home), self.before.get(home, {})
        older = {one: (at, now[one]) for one, at in before.items() if now.get(one, at) < at}
        assert not older, older
        self.before[home] = now


@pytest.fixture
def life(server: Any, capsys: pytest.CaptureFixture[str]) -> Iterator[Life]:
    memory = Path("/dev/shm")  # noqa: S108 a directory below it is ours alone
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Life(World(Path(directory), server, capsys))


def test_a_home_lives_through_it_and_says_no_more_and_no_less(life: Life) -> None:
    life.live()
    for home in (life.world.home, life.inside):
        held, needed = disk(home)
        assert held <= SLACK * needed, (home.name, held, needed)
    assert life.n_syncs >= DAYS * DAY // STEP
    life.world.cli("store", "check", "--read-data")
    life.world.cli("journal", "verify")
    if IS_YEAR:
        assert life.outages_told == len(OUTAGES)
        told = Path(tempfile.gettempdir()) / "attestor-year.txt"
        sizes = {home.name: disk(home) for home in (life.world.home, life.inside)}
        told.write_text(json.dumps([life.n_syncs, sizes, rows_of(life.world.home)]))
