"""Two sites with one log that has grown: what passes between them, and commands on them."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from appliance.cli.main import run
from appliance.jobs.home.init import init_home
from appliance.runs.session import Session
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.logs import add_log, put_backend
from appliance.store.transfer.transfers import EXPORTER, add_exporter
from tests.faults.states import opened
from tests.mirror.mirrors import NOW
from tests.simulator import SimulatedLog

SITE = "outside.example"


class Sites:
    """A connected and an isolated home at one size of a log, which has grown since."""

    def __init__(self, directory: Path, *, before: int) -> None:
        self.directory = directory
        self.log = SimulatedLog()
        self.outside = directory / "outside"  # has `before`
        self.inside = directory / "inside"  # the same
        self.ahead = directory / "ahead"  # outside once it has `after`
        self.stick = directory / "stick.tar"  # what ahead would export for inside
        self.www = directory / "www"
        self.www.mkdir()
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(self.www))
        )
        self.read_url = f"http://127.0.0.1:{self.server.server_port}/"
        self.log.grow(before)
        self.log.write_static(self.www)
        self.since = ["--since-size", str(before)] if before else ["--full"]
        self._thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    def set_up(self) -> None:
        """Make both homes, and what passes between them."""
        self._thread.start()
        for home in (self.outside, self.inside):
            self._init(home)
        if self.log.tree_size:
            first = self.directory / "first.tar"
            succeed(self.outside, *self.syncing())
            succeed(self.outside, "export", "--full", "--include-entries", "--output", first)
            succeed(self.inside, "import", first)

    def grow(self, after: int) -> None:
        """Let the log grow; write the transfer bundle that brings it to the inside."""
        self.log.grow(after - self.log.tree_size)
        self.log.write_static(self.www)
        shutil.copytree(self.outside, self.ahead, symlinks=True)
        succeed(self.ahead, *self.syncing())
        # Ahead itself has not exported this yet: that is for tests to try.
        exporter = copied(self.ahead, self.directory / "exporter")
        succeed(exporter, *self.exporting(self.stick))

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def syncing(self) -> list[str | Path]:
        """Return the command that brings the outside up to date."""
        return ["sync", "--entries"]

    def exporting(self, path: Path) -> list[str | Path]:
        """Return the command that writes what the inside lacks."""
        return ["export", *self.since, "--include-entries", "--output", path]

    def of_tiles(self, directory: Path) -> Path:
        """Write a transfer bundle of all hash tiles: what processes that hash have to do with."""
        stick = directory / "tiles.tar"
        exporter = copied(self.ahead, directory / "exporter")
        succeed(exporter, "export", "--full", "--output", stick)
        return stick

    def _init(self, home: Path) -> None:
        init_home(home, SITE, None, lambda n: b"\x01" * n)
        with opened(home, write=True) as store:
            with store.atomic():
                known = add_log(store, self.log.origin, 2, self.log.key.spki)
                put_backend(store, "sim", known, base_url=None, read_url=self.read_url)
            # One key for both: what the outside signs, the inside believes.
            add_exporter(store, load_signing_key(home, SITE).verifier, [EXPORTER], NOW)


@contextlib.contextmanager
def two_sites(directory: Path, *, before: int, after: int) -> Iterator[Sites]:
    """Yield sites that hold `before` of a log that has grown to `after`."""
    sites = Sites(directory, before=before)
    sites.set_up()
    try:
        sites.grow(after)
        yield sites
    finally:
        sites.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def command(home: Path, arguments: Sequence[str | Path]) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(one) for one in arguments], Session(home=home))
    return code, out.getvalue(), err.getvalue()


def succeed(home: Path, *arguments: str | Path) -> None:
    """Run a command in this process, which must end well."""
    code, _, err = command(home, arguments)
    assert code == 0, err


def copied(home: Path, to: Path) -> Path:
    """Replace `to` with a copy of a home."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(home, to, symlinks=True)
    return to
