"""A time-out is for the whole exchange, and each source has a budget of its own."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import RemoteError
from appliance.fetch.mail import send_mail
from appliance.fetch.tls import TlsSettings
from appliance.jobs.divergence.deliver import run_hook
from appliance.jobs.mirror.fill import BATCH_BYTES, Wanted
from appliance.jobs.mirror.sync import sync
from appliance.runs import answers
from appliance.store.database import open_store
from appliance.store.home.runs import backend_run
from appliance.store.lock import writer_lock
from appliance.store.mirror.logs import add_log, all_backends, put_backend, require_backend
from appliance.tlog.tile import WIDTH
from tests.cli.homes import NOW, Home
from tests.rig.uniform_log import UniformLog, served
from tests.simulator import SimulatedLog

PAYLOAD = '{"severity": "critical", "eventType": "test", "origin": "log.example"}'


@contextlib.contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[int]:
    """Serve `head`, and then `drop` ten times a second to whoever connects; yield the port."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(head)
            while not over.wait(0.1):
                connection.sendall(drop)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


class LockWatch:
    """Sees when the home's lock is first free while so many checkpoints are there."""

    def __init__(self, home: Path, n_checkpoints: int) -> None:
        self._home, self._n = home, n_checkpoints
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._watch)
        self.free_at: float | None = None  # seconds after it began

    def _watch(self) -> None:
        while self.free_at is None and time.monotonic() - self._began < 10:
            time.sleep(0.02)
            with (
                contextlib.suppress(Exception),
                closing(open_store(self._home, write=False)) as one,
            ):
                if len(one.rows("SELECT 1 FROM checkpoint")) < self._n:
                    continue
                with writer_lock(
                    self._home, holder="", wait_seconds=0, sleep=time.sleep, name="lock"
                ):
                    self.free_at = time.monotonic() - self._began

    def __enter__(self) -> LockWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_mail_server_that_drips_is_left_in_time(scheme: str) -> None:
    head = b"220 mail.example\r\n" if scheme == "smtp" else b""
    with dripping(head, b"2") as port:
        began = time.monotonic()
        with pytest.raises(RemoteError):
            send_mail(
                f"{scheme}://127.0.0.1:{port}",
                "to@mail.example",
                PAYLOAD,
                sender="from@mail.example",
                message_id="1@mail.example",
                password=None,
                now=NOW,
                seconds=1.0,
                tls=TlsSettings(),
            )
        assert time.monotonic() - began < 3


def test_what_a_program_complains_without_end_is_not_kept() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = "import os\nwhile True: os.write(2, b'x' * 65536)"
    with pytest.raises(RemoteError, match="killed"):
        run_hook([sys.executable, "-c", flood], b"{}", environment={}, seconds=1.5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB
    last_words = "import sys; sys.stderr.write('x' * 10**6 + 'the end'); sys.exit(3)"
    with pytest.raises(RemoteError, match=r"exit code 3: x+the end"):
        run_hook([sys.executable, "-c", last_words], b"{}", environment={}, seconds=30)
    run_hook(["/bin/true"], b"{}" * 10**6, environment={}, seconds=30)


def test_a_backend_that_drips_keeps_neither_the_others_nor_the_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LOCKED_SECONDS", 0.5)
    home, log = Home(tmp_path / "home", capsys), SimulatedLog()
    log.grow(300)
    slow = SimulatedLog("slow.example")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"
    with dripping(head, b"x") as port, served(log.answer) as url:
        add(home, a=(slow, f"http://127.0.0.1:{port}/"), b=(log, url))
        home.run("config", "set", "rekorSync.backendTimeout", "6s")
        began = time.monotonic()
        with LockWatch(home.path, 1) as watch:
            code, out, error = home.run("sync")
            took = time.monotonic() - began
    assert code == 7 and "a: " in error, out + error
    assert "300" in out
    assert took < 12 and watch.free_at and watch.free_at < took - 1, (took, watch.free_at)


def test_a_backend_whose_tiles_drip_gives_up_the_lock_for_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LOCKED_SECONDS", 0.5)
    home, log, slow = Home(tmp_path / "home", capsys), SimulatedLog(), SimulatedLog("slow.example")
    log.grow(300)
    slow.grow(300)
    answered: list[float] = []

    def drip(path: str) -> bytes:
        if path.startswith("tile/0/000"):
            over.wait(30)
        return slow.answer(path)

    def prompt(path: str) -> bytes:
        answered.append(time.monotonic() - began)
        return log.answer(path)

    over = threading.Event()
    began = time.monotonic()
    with served(drip) as slow_url, served(prompt) as url:
        add(home, a=(slow, slow_url), b=(log, url))
        home.run("config", "set", "rekorSync.backendTimeout", "6s")
        began = time.monotonic()
        with LockWatch(home.path, 2) as watch:
            code, out, error = home.run("sync")
            took = time.monotonic() - began
        over.set()
    assert code == 7 and "a: " in error and "run is over" in error, out + error
    assert "300" in out
    assert max(answered) < 3, answered
    assert took < 12 and watch.free_at and watch.free_at < took - 1, (took, watch.free_at)
    assert failures(home) == {"a": 1, "b": 0}  # a slice that is over is none


def test_a_slow_backend_that_brings_something_is_brought_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LOCKED_SECONDS", 0.2)
    home, log = Home(tmp_path / "home", capsys), SimulatedLog()
    log.grow(256 * 8)
    slept = {"tile/0/000": 0.3, "tile/0/003": 0.6, "tile/0/005": 0.9}

    def steady(path: str) -> bytes:
        time.sleep(slept.pop(path, 0.0))
        return log.answer(path)

    with served(steady) as url:
        add(home, a=(log, url))
        home.run("config", "set", "http.connections", "1")
        code, out, error = home.run("sync", "--json")
    assert code == 0, error
    assert json.loads(out)["data"]["backends"][0]["complete"], out
    assert not slept
    asked = [one for one in log.requests if one.startswith("tile/")]
    assert len(asked) < 9 + 4, asked  # what had come was kept
    assert failures(home) == {"a": 0}


def failures(home: Home) -> dict[str, int]:
    """Return how many syncs of each backend failed in a row."""
    with closing(open_store(home.path, write=False)) as store:
        runs = {one.name: backend_run(store, one.name) for one in all_backends(store)}
    return {name: run.failures for name, run in runs.items() if run is not None}


def add(home: Home, **backends: tuple[SimulatedLog, str]) -> None:
    """Give the home these backends: each a log and the URL where it is read."""
    with closing(open_store(home.path, write=True)) as store, store.atomic():
        for name, (log, at) in backends.items():
            known = add_log(store, log.origin, 2, log.key.spki)
            put_backend(store, name, known, base_url=None, read_url=at)


def test_entries_are_made_durable_before_many_are_in_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, log = Home(tmp_path / "home", capsys), UniformLog(40 * WIDTH, entry=bytes(16 * 1024))
    with closing(open_store(home.path, write=True)) as store:
        with store.atomic():
            known = add_log(store, log.origin, 2, log.key.spki)
            put_backend(store, "sim", known, base_url=None, read_url=None)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = sync(store, require_backend(store, "sim"), log, Wanted(entries=True), NOW)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert report.entry_bundles == 40  # 160 MiB of entries
    assert grown * 1024 < 4 * BATCH_BYTES, grown
