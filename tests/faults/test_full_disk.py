"""Real disks that are really full: the program says so and goes on once there is room again.

Each command is a process of its own: SQLite on a full memory-mapped
file dies of SIGBUS, which no test inside one process would survive to report.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.faults.sites import Sites, copied
from tests.faults.states import State, leftovers, state_of, verify_between, verify_home
from tests.faults.strace import ROOT, environment

PAGE: Final = 4096  # bytes
ROOMY: Final = 64 * 1024 * 1024  # bytes
ROOMS: Final = (0, 1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 512)  # pages left


class Disk:
    """A filesystem of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.stick = root / "stick.tar"

    def leave(self, pages: int) -> None:
        """Take away all room but so many pages."""
        found = os.statvfs(self.root)
        self.resize((found.f_blocks - found.f_bfree) * found.f_frsize + pages * PAGE)

    def resize(self, n_bytes: int) -> None:
        """Make it so large."""
        options = f"remount,size={n_bytes}"
        subprocess.run(["mount", "-o", options, self.root], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(root)]
    try:
        tried = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a disk that can be filled needs mount")
    if tried.returncode:
        pytest.skip(f"the kernel lets us mount no tmpfs: {tried.stderr.strip()}")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


def attestor(home: Path, words: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance.cli.main", "--home", home, *words]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment()
    )


def refused(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether it said in one line that there is no room; if not, it succeeded."""
    if done.returncode == 0:
        return False
    assert done.returncode == 6, done
    *warnings, error = done.stderr.splitlines()  # that the disk is full is an alert as well
    assert error.startswith("Error: "), done.stderr
    assert all(line.startswith("Warning: alert ") for line in warnings), done.stderr
    assert "full" in done.stderr or "No space left" in done.stderr, done.stderr
    return True


def fill_more_and_more(disk: Disk, start: Path, words: Sequence[str | Path], after: State) -> int:
    """Run a command with ever more room until it succeeds; returns how often it did not."""
    before = state_of(start)
    refusals = 0
    for pages in ROOMS:
        disk.resize(ROOMY)
        copied(start, disk.home)
        disk.leave(pages)
        was_refused = refused(attestor(disk.home, words))
        # As it is, on a disk that is still full.
        assert leftovers(disk.home) == []
        verify_between(state_of(disk.home), before, after)
        disk.resize(ROOMY)
        verify_home(disk.home)
        assert attestor(disk.home, words).returncode == 0
        assert state_of(disk.home) == after
        if not was_refused:
            break
        refusals += 1
    else:
        raise AssertionError(f"it did not succeed with {ROOMS[-1]} pages either")
    return refusals


def test_an_import_onto_a_full_disk_goes_on_where_there_is_room(
    new_sites: Sites, disk: Disk, place: Path
) -> None:
    words: list[str | Path] = ["import", new_sites.stick]
    expected = copied(new_sites.inside, place / "expected")
    assert attestor(expected, words).returncode == 0
    assert fill_more_and_more(disk, new_sites.inside, words, state_of(expected)) >= 5


def test_a_sync_onto_a_full_disk_goes_on_where_there_is_room(new_sites: Sites, disk: Disk) -> None:
    after = state_of(new_sites.ahead)
    assert fill_more_and_more(disk, new_sites.outside, new_sites.syncing(), after) >= 5


def test_an_export_onto_a_full_stick_leaves_nothing_on_it(
    new_sites: Sites, disk: Disk, place: Path
) -> None:
    home, stick, other = copied(new_sites.ahead, place / "home"), disk.stick, disk.root / "other"
    other.write_bytes(bytes(PAGE))
    words = new_sites.exporting(stick)
    before = state_of(home)
    needed = -(-new_sites.stick.stat().st_size // PAGE)
    for pages in (0, 1, needed // 2, needed - 1):
        disk.leave(pages)
        assert refused(attestor(home, words))
        assert list(disk.root.iterdir()) == [other]
        assert state_of(home) == before
    disk.resize(ROOMY)
    assert attestor(home, words).returncode == 0
    assert set(disk.root.iterdir()) == {other, stick}
