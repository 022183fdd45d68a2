"""One writer at a time: a kernel lock on the home's lock file, held for the whole run.

The kernel drops it when the process ends, however it ends, so there is nothing stale to
clean up. Readers never take it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import LockedError, StoreError
from appliance.store.failures import file_error

LOCK_NAME: Final = "lock"
DRAIN_LOCK_NAME: Final = "drain.lock"  # held by whoever sends the queue, beside other writers
INDEX_LOCK_NAME: Final = "index.lock"  # held by whoever writes the index of entries
WITNESS_LOCK_NAME: Final = "witness.lock"  # held by whoever cosigns for other logs
SERVE_LOCK_NAME: Final = "serve-{}.lock"  # shared by those who serve the private log of a name
WATCH_LOCK_NAME: Final = "watch.lock"  # held by whoever compares entries with the watches
_POLL_SECONDS: Final = 0.1


@contextlib.contextmanager
def writer_lock(
    home: Path,
    *,
    holder: str,
    wait_seconds: float,
    sleep: Callable[[float], None],
    name: str = LOCK_NAME,
    shared: bool = False,
) -> Iterator[None]:
    """Hold a lock of the home, by its name; `holder` is written into it for who finds it taken.

    A `shared` one keeps out only those who do not share it.

    Raises LockedError, naming the holder, if another run still has it after
    `wait_seconds`, and StoreError if the home is not there or cannot be locked.
    """
    try:
        descriptor = os.open(home / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError as error:
        raise StoreError(
            f"no store at {home}",
            reason="no-store",
            next_step=f"create one with 'attestor --home {home} init --site NAME'",
        ) from error
    except OSError as error:
        failed = file_error(home / name, error)
        raise StoreError(failed.message, reason="lock", next_step=failed.next_step) from error
    # The directory too: a lock file can be unlinked under its holder, and the next run would
    # make another one and lock that.
    places = [(descriptor, home / name)]
    try:
        if name == LOCK_NAME:
            places.append((os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), home))
        for held, path in places:
            _acquire(held, path, wait_seconds, sleep, shared=shared)
        if not _is_at(descriptor, home / name):
            raise LockedError(
                f"{home / name} was removed or replaced while it was being locked",
                next_step="try again; leave the file alone: it needs no cleaning up",
            )
        with contextlib.suppress(OSError):
            # A courtesy. On a full disk, who frees space needs the lock, not this.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        for held, _ in places:
            os.close(held)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _acquire(
    descriptor: int,
    path: Path,
    wait_seconds: float,
    sleep: Callable[[float], None],
    *,
    shared: bool,
) -> None:
    waited = 0.0
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if waited >= wait_seconds:
                holder = _holder(descriptor)
                raise LockedError(
                    f"another run holds {path}: {holder or 'unknown'}",
                    next_step="wait for it, or use --lock-wait 5m",
                ) from error
            sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
        except OSError as error:
            # A filesystem that cannot lock cannot hold a store; never go on unlocked.
            raise StoreError(f"{path}: {error.strerror}", reason="lock") from error
        else:
            return


def _holder(descriptor: int) -> str:
    try:
        return os.pread(descriptor, 200, 0).decode(errors="replace").strip()
    except OSError:  # of the directory: the lock file that named the holder was removed
        return "its lock file was removed meanwhile"
