"""One invocation: the home and the world around it, and the store and settings it opened."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.value import field, frozen, replaced

if TYPE_CHECKING:
    from appliance.config.configuration import Configuration
    from appliance.fetch.http import HttpClient
    from appliance.policy.budget import Moment
    from appliance.runs.clock import RunClock
    from appliance.store.database import Store
    from appliance.store.passphrases import Passphrases

RECORD_BUSY_SECONDS = 1.0


def _now() -> int:
    return int(time.time())


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _uptime() -> tuple[str, int]:
    boot = _boot()
    return boot, int(time.clock_gettime(time.CLOCK_BOOTTIME)) if boot else 0


class Opened:
    """What a session has opened: one store at most, and how many are using it."""

    def __init__(self, *, kept: bool = False) -> None:
        self.store: Store | None = None
        self.is_writable = False
        self.users = 0
        self.kept = kept  # until the session is closed, not only while somebody uses it


@frozen
class Session:
    """One run of one command, handed down from the rim; tests replace it whole.

    The store is opened once and shared by everything in the run. The home's lock is taken
    only for the parts that need it. Jobs get time and randomness from here, as values.
    A session belongs to one thread: another thread works with `fresh()`.
    """

    home: Path
    now: Callable[[], int] = _now  # Unix seconds
    monotonic: Callable[[], float] = time.monotonic  # seconds, for deadlines
    sleep: Callable[[float], None] = time.sleep
    uptime: Callable[[], tuple[str, int]] = _uptime  # which boot; seconds since it
    random_bytes: Callable[[int], bytes] = os.urandom
    lock_wait: float = 0.0  # seconds to wait for another writer
    allow_network_fs: bool = False
    passphrase_file: Path | None = None  # of --passphrase-file
    credentials: Path | None = None  # what systemd gave this service
    is_home_named: bool = False  # by --home or ATTESTOR_HOME: somebody expects a store there
    scheduled: bool = False  # a timer or cron started it: how it ends is remembered
    opened: Opened = field(default_factory=Opened)

    def fresh(self, *, kept: bool = False) -> Session:
        """Return a session for the same home that has opened nothing yet.

        If it is `kept`, its store stays open from the first use until close().
        """
        return replaced(self, opened=Opened(kept=kept))

    def close(self) -> None:
        """Close the store, if one is open."""
        store, self.opened.store = self.opened.store, None
        if store is not None:
            store.close()

    @property
    def passphrases(self) -> Passphrases:
        """Where the passphrases of this home's keys are; nothing is read before a key asks."""
        from appliance.store.passphrases import FILE_SETTING, Passphrases

        return Passphrases(
            self.passphrase_file,
            self.credentials,
            lambda: self.configuration.optional_text(FILE_SETTING),
        )

    @property
    def configuration(self) -> Configuration:
        """The settings of the home, read and verified once."""
        from appliance.jobs.home.configure import read_configuration

        with self.reading() as store:
            return read_configuration(store)

    @contextlib.contextmanager
    def http(self, **budget: float) -> Iterator[HttpClient]:
        """Yield what asks other hosts, as the settings say. Offline runs never call this."""
        from appliance.fetch.http import HttpClient
        from appliance.runs.network import http_settings

        settings = http_settings(self.configuration, passphrases=self.passphrases)
        with HttpClient(settings, clock=self.monotonic, sleep=self.sleep, **budget) as client:
            yield client

    @contextlib.contextmanager
    def reading(self) -> Iterator[Store]:
        """Open the store for reading: no lock, and a read-only file will do."""
        from appliance.store.database import open_store

        with self._using(lambda: open_store(self.home, write=False), write=False) as store:
            yield store

    @contextlib.contextmanager
    def writing(self) -> Iterator[Store]:
        """Take the home's lock and open the store for writing.

        An older schema is brought up to date, unless the settings forbid it.
        """
        with self.locked(), self.writing_unlocked() as store:
            yield store

    @contextlib.contextmanager
    def writing_unlocked(self) -> Iterator[Store]:
        """Open the store for writing without the lock: for single transactions.

        SQLite keeps them apart from every other writer's. So a build can queue something
        while a sync runs or a log is served from the same home.
        """
        with self._using(self._open_for_writing, write=True) as store:
            yield store

    @contextlib.contextmanager
    def draining(self) -> Iterator[Store]:
        """Take the lock of those who send the queue, and open the store for writing."""
        from appliance.store.lock import DRAIN_LOCK_NAME

        with self.locked(DRAIN_LOCK_NAME), self.writing_unlocked() as store:
            yield store

    @contextlib.contextmanager
    def recording(self) -> Iterator[Store]:
        """Open the store to note how a run ended: no lock, and no long wait for one."""
        from appliance.store.database import open_store

        def opening() -> Store:
            return open_store(self.home, write=True, busy_seconds=RECORD_BUSY_SECONDS)

        with self._using(opening, write=True) as store:
            yield store

    @property
    def clock(self) -> RunClock:
        """The clock of this run: `now` is its time; it knows whether that can be believed."""
        from appliance.runs.clock import RunClock

        return self.now if isinstance(self.now, RunClock) else RunClock(self.home, self.now)

    def moment(self) -> Moment:
        """Return what the machine's clocks say, for the budget."""
        from appliance.policy.budget import Moment

        return Moment(self.now(), *self.uptime())

    def chance(self) -> float:
        """Return a random number in [0, 1)."""
        return int.from_bytes(self.random_bytes(4)) / 2**32

    @contextlib.contextmanager
    def locked(self, name: str = "lock", *, shared: bool = False) -> Iterator[None]:
        """Hold the home's lock, or another of its locks, without opening the store."""
        from appliance.store.filesystem import refuse_foreign_home, refuse_network_filesystem
        from appliance.store.lock import writer_lock
        from appliance.times import utc

        if self.home.exists():  # else there is nothing to lock, which the lock says better
            refuse_foreign_home(self.home)
        if not self.allow_network_fs:
            refuse_network_filesystem(self.home)
        context = click.get_current_context(silent=True)
        command = context.command_path if context else Path(sys.argv[0]).name
        holder = f"pid {os.getpid()} ({command}) since {utc(self.clock.system())}\n"
        with writer_lock(
            self.home,
            holder=holder,
            wait_seconds=self.lock_wait,
            sleep=self.sleep,
            name=name,
            shared=shared,
        ):
            yield

    @contextlib.contextmanager
    def _using(self, opening: Callable[[], Store], *, write: bool) -> Iterator[Store]:
        """Yield the open store, opened anew only if there is none that will do."""
        opened = self.opened
        if write and opened.store is not None and not opened.is_writable and not opened.users:
            self.close()
        own = None
        if opened.store is None:
            opened.store, opened.is_writable = opening(), write
            opened.store.passphrases = self.passphrases
            self._read_clock(opened.store)
        elif write and not opened.is_writable:
            own = opening()  # somebody reads just now: a second connection beside theirs
            own.passphrases = self.passphrases
        opened.users += 1
        try:
            yield own or opened.store
        finally:
            opened.users -= 1
            if own is not None:
                own.close()
            if not opened.users and not opened.kept:
                self.close()

    def _read_clock(self, store: Store) -> None:
        """Let the clock of this run have its floor from the store that is open anyway."""
        from appliance.runs.clock import RunClock

        if isinstance(self.now, RunClock):
            self.now.read(store)

    def _open_for_writing(self) -> Store:
        from appliance.errors import StoreError
        from appliance.store.database import create_store, migrates_itself, open_store

        try:
            return open_store(self.home, write=True)
        except StoreError as error:
            if error.reason != "schema-older" or not migrates_itself(self.home):
                raise
        return create_store(self.home)


def default_home() -> Path:
    """Return the home used without --home and ATTESTOR_HOME."""
    if os.geteuid() == 0:
        return Path("/var/lib/attestor")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "attestor"


pass_session = click.make_pass_decorator(Session)
