"""A world on a filesystem without a disk, and one log server for all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.divergence.world import LogServer, World

MEMORY = Path("/dev/shm")  # noqa: S108 a directory below it is ours alone


@pytest.fixture(scope="session")
def server() -> Iterator[LogServer]:
    started = LogServer()
    yield started
    started.close()


@pytest.fixture
def world(server: LogServer, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield World(Path(directory), server, capsys)
