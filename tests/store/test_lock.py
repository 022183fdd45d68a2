"""One writer at a time; the kernel forgets the lock with its holder."""

from __future__ import annotations

import errno
import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.errors import LockedError, StoreError
from appliance.store.lock import LOCK_NAME, writer_lock

HOLDER = """
import signal, sys
from pathlib import Path
from appliance.store.lock import writer_lock
with writer_lock(Path(sys.argv[1]), holder="pid 42 (sync)", wait_seconds=0, sleep=None):
    print("locked", flush=True)
    signal.pause()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def held(place: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the lock."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "locked\n"
            yield other
        finally:
            other.kill()


def no_sleep(_: float) -> None:
    raise AssertionError("nobody has to wait here")


def test_the_second_writer_is_told_who_holds_it(place: Path) -> None:
    with (
        held(place),
        pytest.raises(LockedError, match=r"pid 42 \(sync\)") as caught,
        writer_lock(place, holder="me", wait_seconds=0, sleep=no_sleep),
    ):
        pass
    assert "--lock-wait" in caught.value.next_step


def test_a_lock_dies_with_its_holder(place: Path) -> None:
    with held(place) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with writer_lock(place, holder="me", wait_seconds=0, sleep=no_sleep):
        assert (place / LOCK_NAME).read_text() == "me"


def test_waiting_for_it_works_as_long_as_was_said(place: Path) -> None:
    waits: list[float] = []

    def release(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            other.kill()
            other.wait()

    with held(place) as other, writer_lock(place, holder="me", wait_seconds=60, sleep=release):
        assert len(waits) == 3


def test_waiting_ends(place: Path) -> None:
    waits: list[float] = []
    with (
        held(place),
        pytest.raises(LockedError),
        writer_lock(place, holder="me", wait_seconds=1, sleep=waits.append),
    ):
        pass
    assert 1 <= sum(waits) < 1.2


def test_leaving_releases_it_also_after_an_error(place: Path) -> None:
    for _ in range(2):
        with (
            pytest.raises(KeyError),
            writer_lock(place, holder="me", wait_seconds=0, sleep=no_sleep),
        ):
            raise KeyError


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO, errno.EOPNOTSUPP])
def test_where_locks_do_not_work_nobody_goes_on_unlocked(
    place: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(StoreError, match="no locks"),
        writer_lock(place, holder="me", wait_seconds=9, sleep=no_sleep),
    ):
        pass


def test_a_lock_that_is_a_link_or_in_no_home_is_refused(place: Path) -> None:
    (place / LOCK_NAME).symlink_to(place / "elsewhere")
    for where, reason in ((place, "lock"), (place / "none", "no-store")):
        with (
            pytest.raises(StoreError) as caught,
            writer_lock(where, holder="me", wait_seconds=0, sleep=no_sleep),
        ):
            pass
        assert caught.value.reason == reason
    assert not (place / "elsewhere").exists()


def test_a_lock_file_that_is_unlinked_lets_nobody_else_in(place: Path) -> None:
    with held(place):
        (place / LOCK_NAME).unlink()
        with (
            pytest.raises(LockedError, match="its lock file was removed"),
            writer_lock(place, holder="second", wait_seconds=0, sleep=no_sleep),
        ):
            raise AssertionError("two writers at once")
    with writer_lock(place, holder="third", wait_seconds=0, sleep=no_sleep):
        pass


def test_a_lock_file_that_is_replaced_while_it_is_locked_is_noticed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def unlinked_meanwhile(descriptor: int, how: int) -> None:
        real(descriptor, how)
        (place / "drain.lock").unlink()

    monkeypatch.setattr(fcntl, "flock", unlinked_meanwhile)
    with (
        pytest.raises(LockedError, match="removed or replaced"),
        writer_lock(place, holder="x", wait_seconds=0, sleep=no_sleep, name="drain.lock"),
    ):
        raise AssertionError("locked what has no name")
