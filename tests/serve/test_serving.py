"""A server that ends: by a signal, by itself, and by itself with a signal while it closes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.cli.serving import run_until_signal
from appliance.runs.session import Session
from appliance.serve.http_server import HttpServer
from appliance.serve.routes import Routes


def send(number: signal.Signals) -> None:
    """Send this process a signal, whose handler has run when this returns."""
    os.kill(os.getpid(), number)


class Stopped(HttpServer):
    """A server that counts how often it is told to stop."""

    n_stops = 0

    def stop(self) -> None:
        self.n_stops += 1
        super().stop()


def serve(tmp_path: Path, begin: Callable[[Stopped], None], closing: Callable[[], None]) -> int:
    server = Stopped(Routes().answer, "127.0.0.1", 0, 1000)

    def close() -> None:
        closing()
        server.close()

    session = Session(home=tmp_path / "home")
    return run_until_signal(session, "serve", server, lambda: begin(server), close)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_number_is_returned(
    tmp_path: Path, number: signal.Signals
) -> None:
    closed: list[str] = []
    timer = threading.Timer(0.1, send, [number])
    before = signal.getsignal(number)
    assert serve(tmp_path, lambda _: timer.start(), lambda: closed.append("closed")) == number
    assert closed == ["closed"]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_closes_ends_nothing(tmp_path: Path, number: signal.Signals) -> None:
    ended: list[int] = []
    before = signal.signal(number, lambda number, _: ended.append(number))
    try:
        closed: list[str] = []

        def closing() -> None:
            send(number)
            closed.append("all of it")

        stopped = threading.Timer(0.1, lambda: servers[0].stop())
        servers: list[Stopped] = []

        def begin(server: Stopped) -> None:
            servers.append(server)
            stopped.start()

        serve(tmp_path, begin, closing)
        assert (ended, closed) == ([], ["all of it"])
        assert servers[0].n_stops == 1  # what it was told by is closed
        send(number)  # and afterwards it is whoever's it was
        assert ended == [number]
    finally:
        signal.signal(number, before)


def test_what_it_closes_is_closed_if_it_cannot_begin(tmp_path: Path) -> None:
    closed: list[str] = []

    def begin(_: Stopped) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        serve(tmp_path, begin, lambda: closed.append("closed"))
    assert closed == ["closed"]
