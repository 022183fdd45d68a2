"""A log elsewhere, and a home that may submit little to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store.home.key_files import load_signing_key
from tests.private_log.private_homes import ORIGIN, home_in_memory, make_home
from tests.queue.short_budget import ShortHome
from tests.serve.running_log import RunningLog, running_log


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[RunningLog, bytes]]:
    """A log that is served, and its public key."""
    with home_in_memory() as home:
        make_home(home)
        spki = load_signing_key(home, ORIGIN).verifier.spki
        with running_log(home) as server:
            yield server, spki


@pytest.fixture
def home(
    upstream: tuple[RunningLog, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> ShortHome:
    server, spki = upstream
    (tmp_path / "log.key").write_bytes(spki)
    return ShortHome(tmp_path / "home", capsys, server.url, tmp_path / "log.key")
