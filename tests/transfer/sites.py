"""Two homes and files between them, by commands: an outer one that mirrors, an inner one."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.jobs.home.init import init_home
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.logs import add_log, put_backend, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.merkle import TreeHead
from tests.mirror.mirrors import NOW, sync_from
from tests.simulator import SimulatedLog

OUTSIDE = "outside.example"
INSIDE = "inside.example"
SECOND = "second.example"


class Sites:
    """The log, both homes, and the directory where files are carried."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capsys = capsys
        self.log = SimulatedLog()
        self.now = NOW
        self.keys = {}
        for name, role, seed in ((OUTSIDE, "connected", b"\x01"), (INSIDE, "isolated", b"\x02")):
            init_home(self.home(name), name, role, lambda n, seed=seed: seed * n)  # type: ignore[misc]
            self.keys[name] = load_signing_key(self.home(name), name).verifier
        for name in (OUTSIDE, INSIDE):
            with closing(open_store(self.home(name), write=True)) as store, store.atomic():
                known = add_log(store, self.log.origin, 2, self.log.key.spki)
                put_backend(store, "sim", known, base_url=None, read_url=None)
        self.json(INSIDE, "exporters", "add", self.keys[OUTSIDE].vkey)
        self.json(OUTSIDE, "exporters", "add", self.keys[INSIDE].vkey)

    def home(self, name: str) -> Path:
        """Return the home of a site."""
        return self.directory / name

    def grow(self, n_entries: int) -> None:
        """Let the log grow, and the outer site mirror all of it."""
        if n_entries:
            self.log.grow(n_entries)
        with closing(open_store(self.home(OUTSIDE), write=True)) as store:
            mirror = Mirror(store, require_log(store, self.log.origin))
            sync_from(mirror, self.log, now=self.now)

    def head(self, name: str) -> TreeHead | None:
        """Return the head up to which a site holds every tile."""
        with closing(open_store(self.home(name), write=False)) as store:
            mirror = Mirror(store, require_log(store, self.log.origin))
            found = mirror.history.mirror_checkpoint()
            return found.head if found else None

    def size(self, name: str) -> int:
        """Return how many entries that are; 0: none."""
        head = self.head(name)
        return head.tree_size if head else 0

    def answer(self, name: str, *words: str | Path) -> dict[str, Any]:
        """Run a command at a site, a second later; return its JSON object."""
        self.now += 1
        app = Session(
            home=self.home(name), now=lambda: self.now, random_bytes=lambda n: b"\x07" * n
        )
        code = run([*map(str, words), "--json"], app)
        out, _ = self.capsys.readouterr()
        found: dict[str, Any] = json.loads(out)
        assert found["exitCode"] == code
        return found

    def json(self, name: str, *words: str | Path, expect: int = 0) -> Any:
        """Run a command; return its data, or its error if one is expected."""
        found = self.answer(name, *words)
        assert found["exitCode"] == expect, found
        return found["error"] if expect else found["data"]

    def text(self, name: str, *words: str | Path) -> str:
        """Run a command that succeeds, a second later; return what a person reads."""
        self.now += 1
        app = Session(
            home=self.home(name), now=lambda: self.now, random_bytes=lambda n: b"\x07" * n
        )
        assert run([*map(str, words)], app) == 0
        return self.capsys.readouterr().out

    def change(self, name: str, *statements: str) -> None:
        """Change a site's store in a way that no command does."""
        with closing(open_store(self.home(name), write=True)) as store, store.atomic():
            store.execute("PRAGMA defer_foreign_keys = ON")
            for sql in statements:
                store.execute(sql)

    def stick(self, name: str) -> Path:
        """Return the place of a file that is carried."""
        return self.directory / name


@pytest.fixture
def sites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Sites:
    return Sites(tmp_path, capsys)
