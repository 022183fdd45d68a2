"""A home that mirrors a simulated log, for the tests of commands that look at mirrors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.store.database import open_store
from appliance.store.mirror.logs import add_log, put_backend, require_log
from appliance.store.mirror.mirror import Mirror
from tests.cli.homes import NOW, Home
from tests.mirror.mirrors import sync_from
from tests.simulator import SimulatedLog


class MirroredHome(Home):
    """A home whose backend `sim` is a simulated log."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], role: str) -> None:
        super().__init__(path, capsys, role)
        self.log = SimulatedLog()
        store = open_store(path, write=True)
        with store.atomic():
            known = add_log(store, self.log.origin, 2, self.log.key.spki)
            put_backend(store, "sim", known, base_url=None, read_url=None)
        store.close()

    @contextmanager
    def mirror(self) -> Iterator[Mirror]:
        """Open the mirror for writing."""
        store = open_store(self.path, write=True)
        try:
            yield Mirror(store, require_log(store, self.log.origin))
        finally:
            store.close()

    def sync(self, more: int, now: int = NOW) -> None:
        """Let the log grow, and mirror all of it."""
        if more:
            self.log.grow(more)
        with self.mirror() as mirror:
            sync_from(mirror, self.log, now=now)
