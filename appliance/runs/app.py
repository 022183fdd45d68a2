"""Everything a command needs from the world, in one value that tests replace whole."""

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

from appliance.value import frozen

if TYPE_CHECKING:
    from appliance.policy.budget import Moment
    from appliance.store.database import Store


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


@frozen
class App:
    """The home and the world around it. Jobs get time and randomness from here, as values."""

    home: Path
    now: Callable[[], int] = _now  # Unix seconds
    monotonic: Callable[[], float] = time.monotonic  # seconds, for deadlines
    sleep: Callable[[float], None] = time.sleep
    uptime: Callable[[], tuple[str, int]] = _uptime  # which boot; seconds since it
    random_bytes: Callable[[int], bytes] = os.urandom
    lock_wait: float = 0.0  # seconds to wait for another writer
    allow_network_fs: bool = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[Store]:
        """Open the store for reading: no lock, and a read-only file will do."""
        from appliance.store.database import open_store

        store = open_store(self.home, write=False)
        try:
            yield store
        finally:
            store.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Store]:
        """Take the home's lock for the whole run and open the store for writing.

        An older schema is brought up to date, unless the settings forbid it.
        """
        with self.locked():
            store = self._open_for_writing()
            try:
                yield store
            finally:
                store.close()

    @contextlib.contextmanager
    def queueing(self) -> Iterator[Store]:
        """Open the store for single transactions on the queue's tables, without the lock.

        SQLite keeps them apart from every other writer's. So a build can queue something
        while a sync runs or a log is served from the same home.
        """
        store = self._open_for_writing()
        try:
            yield store
        finally:
            store.close()

    @contextlib.contextmanager
    def draining(self) -> Iterator[Store]:
        """Take the lock of those who send the queue, and open the store as queueing does."""
        from appliance.store.lock import DRAIN_LOCK_NAME

        with self.locked(DRAIN_LOCK_NAME), self.queueing() as store:
            yield store

    def moment(self) -> Moment:
        """Return what the machine's clocks say, for the budget."""
        from appliance.policy.budget import Moment

        return Moment(self.now(), *self.uptime())

    def _open_for_writing(self) -> Store:
        from appliance.errors import StoreError
        from appliance.store.database import create_store, migrates_itself, open_store

        try:
            return open_store(self.home, write=True)
        except StoreError as error:
            if error.reason != "schema-older" or not migrates_itself(self.home):
                raise
        return create_store(self.home)

    @contextlib.contextmanager
    def locked(self, name: str = "lock") -> Iterator[None]:
        """Hold the home's lock, or another of its locks, without opening the store."""
        from appliance.cli.output import utc
        from appliance.store.filesystem import refuse_network_filesystem
        from appliance.store.lock import writer_lock

        if not self.allow_network_fs:
            refuse_network_filesystem(self.home)
        context = click.get_current_context(silent=True)
        command = context.command_path if context else Path(sys.argv[0]).name
        holder = f"pid {os.getpid()} ({command}) since {utc(self.now())}\n"
        with writer_lock(
            self.home,
            holder=holder,
            wait_seconds=self.lock_wait,
            sleep=self.sleep,
            name=name,
        ):
            yield


def default_home() -> Path:
    """Return the home used without --home and ATTESTOR_HOME (SPEC.md section 3)."""
    if os.geteuid() == 0:
        return Path("/var/lib/attestor")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "attestor"


pass_app = click.make_pass_decorator(App)
