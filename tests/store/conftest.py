"""A real home for each test, on a filesystem without a disk: flushing one takes long."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store.database import Store, create_store

MEMORY = Path("/dev/shm")  # noqa: S108 a directory below it is ours alone


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, where the system has one."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture
def home(memory: Path) -> Path:
    """Where a home is or will be."""
    return memory / "home"


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """An empty store, open for writing."""
    opened = create_store(home)
    yield opened
    opened.close()
