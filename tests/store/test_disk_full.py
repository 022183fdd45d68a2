"""A disk that is really full, or read-only: a clean no, and everything as it was."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.store.database import create_store, open_store
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from tests.simulator import SimulatedLog
from tests.store.test_mirror import (
    DIRECT,
    bundles_between,
    mirror_of,
    signed,
    size_of_mirror,
    tiles_between,
    verify_whole,
)

HOME_BYTES = 1_200_000  # what a home of 300 entries needs, with its 256 directories
STEP_BYTES = 16 * 1024


@pytest.fixture(scope="module")
def log() -> SimulatedLog:
    made = SimulatedLog()
    made.grow(6000)
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of its own, which a test may fill."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={4 * HOME_BYTES}", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("this kernel lets us mount no tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def remount(disk: Path, options: str) -> None:
    command = ["mount", "-o", f"remount,{options}", str(disk)]
    subprocess.run(command, check=True, capture_output=True)


def prepare(home: Path, log: SimulatedLog) -> None:
    store = create_store(home)
    mirror_of(store, log).accept(signed(log, 300), DIRECT, tiles_between(log, 0, 300))
    store.close()


def grow(home: Path, log: SimulatedLog) -> None:
    store = open_store(home, write=True)
    try:
        Mirror(store, require_log(store, log.origin)).accept(
            signed(log), DIRECT, tiles_between(log, 300, 6000), bundles_between(log, 0, 6000)
        )
    finally:
        store.close()


def state(home: Path, log: SimulatedLog) -> int | None:
    store = open_store(home, write=False)
    mirror = Mirror(store, require_log(store, log.origin))
    verify_whole(mirror, log)
    size = size_of_mirror(mirror)
    store.close()
    return size


def test_a_full_disk_at_any_point_is_a_clean_no(small_disk: Path, log: SimulatedLog) -> None:
    home, ballast = small_disk / "home", small_disk / "ballast"
    prepare(home, log)
    refused = 0
    for left in range(0, 1_000_000, STEP_BYTES):
        fill(ballast, small_disk, left)
        try:
            grow(home, log)
        except StoreError as error:
            assert error.reason == "disk-full", (left, error)
            refused += 1
        else:
            break
        finally:
            ballast.unlink()
        assert state(home, log) == 300
        for file in small_disk.rglob("*.tmp"):
            raise AssertionError(f"{file} was left behind")
    assert refused > 3
    assert state(home, log) == 6000


def fill(ballast: Path, disk: Path, left: int) -> None:
    """Take all the room on a disk but `left` bytes."""
    found = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - left, 1))


def test_a_disk_without_free_inodes_is_a_clean_no(small_disk: Path, log: SimulatedLog) -> None:
    home = small_disk / "home"
    prepare(home, log)
    used = os.statvfs(small_disk)
    remount(small_disk, f"nr_inodes={used.f_files - used.f_ffree + 10}")
    with pytest.raises(StoreError) as caught:
        grow(home, log)
    assert caught.value.reason == "disk-full"
    assert state(home, log) == 300
    remount(small_disk, "nr_inodes=10000")
    grow(home, log)
    assert state(home, log) == 6000


def test_creating_on_a_disk_that_is_full_can_be_done_again(
    small_disk: Path, log: SimulatedLog
) -> None:
    home, ballast = small_disk / "home", small_disk / "ballast"
    for left in (0, 4096, 65_536, 131_072):
        fill(ballast, small_disk, left)
        with pytest.raises(StoreError) as caught:
            create_store(home)
        assert caught.value.reason == "disk-full"
        ballast.unlink()
    prepare(home, log)
    assert state(home, log) == 300


def test_a_read_only_filesystem_can_be_read_and_refuses_writing(
    small_disk: Path, log: SimulatedLog
) -> None:
    home = small_disk / "home"
    prepare(home, log)
    remount(small_disk, "ro")
    assert state(home, log) == 300
    with pytest.raises(StoreError) as caught:
        grow(home, log)
    assert caught.value.reason == "read-only"
    store = open_store(home, write=False)
    with pytest.raises(StoreError):
        store.blobs.verify_writable()
    store.close()


def test_a_limit_on_file_size_is_a_clean_no(tmp_path: Path, log: SimulatedLog) -> None:
    home = tmp_path / "home"
    prepare(home, log)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (0, 1000, 5000, 8191):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            try:
                with pytest.raises(StoreError):
                    grow(home, log)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert state(home, log) == 300
    finally:
        signal.signal(signal.SIGXFSZ, handler)
    grow(home, log)
    assert state(home, log) == 6000
