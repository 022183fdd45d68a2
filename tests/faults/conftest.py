"""Sites for all tests of faults, where files are quick: what is tested here is order, not disks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.sites import Sites, two_sites

BEFORE = 300  # entries: a full tile and a part of one
AFTER = 600
LARGE = 4700  # more tiles than are flushed one by one
MEMORY = Path("/dev/shm")  # noqa: S108 a directory of our own is made in it


@pytest.fixture(scope="session")
def quick_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory, if there is such a thing."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < 256 * 1024 * 1024:
        yield tmp_path_factory.mktemp("quick")
        return
    with tempfile.TemporaryDirectory(prefix="attestor-test-", dir=MEMORY) as made:
        yield Path(made)


@pytest.fixture
def place(quick_directory: Path) -> Iterator[Path]:
    """A quick directory for one test."""
    with tempfile.TemporaryDirectory(dir=quick_directory) as made:
        yield Path(made)


@pytest.fixture(scope="session")
def sites(quick_directory: Path) -> Iterator[Sites]:
    """Sites that are behind a log by a few tiles."""
    directory = quick_directory / "sites"
    directory.mkdir()
    with two_sites(directory, before=BEFORE, after=AFTER) as made:
        yield made


@pytest.fixture(scope="session")
def new_sites(quick_directory: Path) -> Iterator[Sites]:
    """Sites that hold nothing of a larger log."""
    directory = quick_directory / "new-sites"
    directory.mkdir()
    with two_sites(directory, before=0, after=LARGE) as made:
        yield made
