"""What every server of this program does around answering: its address, its end, its one line."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import click

from appliance.cli.output import envelope, is_quiet, say
from appliance.runs.record import record_run
from appliance.runs.session import Session
from appliance.serve.http_server import HttpServer
from appliance.serve.notify import READY, STOPPING, notify

ALIVE_SECONDS: Final = 3600.0  # between two times that a scheduled server is recorded as well


def bind_address(bind: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; raises BadParameter."""
    host, _, port = bind.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"expected HOST:PORT, got {bind!r}", param_hint="--bind")
    return host.removeprefix("[").removesuffix("]"), int(port)


def run_until_signal(
    session: Session,
    command: str,
    server: HttpServer,
    announce: Callable[[], None],
    close: Callable[[], None],
    others: Mapping[signal.Signals, Callable[[], None]] | None = None,
) -> int:
    """Serve until a signal or a failure, and close; return the signal's number.

    Once it listens it says so, to systemd as well; `others` are signals that end nothing. A
    signal that comes while it closes ends nothing either: why it ends is settled by then, and
    what it closes is written down.
    """
    received, closing = [signal.SIGTERM], threading.Event()

    def on_end(number: int, frame: object) -> None:
        if not closing.is_set():
            received[0] = signal.Signals(number)
            server.stop()

    handlers: dict[signal.Signals, Callable[[int, object], None]]
    handlers = {signal.SIGTERM: on_end, signal.SIGINT: on_end}
    for one, act in (others or {}).items():
        handlers[one] = lambda _, __, act=act: act()  # type: ignore[misc]
    before = {one: signal.signal(one, handler) for one, handler in handlers.items()}
    try:
        announce()
        notify(READY)
        with _recorded_alive(session, command):
            server.run()
    finally:
        closing.set()
        try:
            notify(STOPPING)
            close()
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
    return received[0]


@contextlib.contextmanager
def _recorded_alive(session: Session, command: str) -> Iterator[None]:
    """Record a scheduled server as well while it serves, as a timer's command is at its end.

    So health says of one that is down what it says of a job that does not run any more.
    """
    if not session.scheduled:
        yield
        return
    ending = threading.Event()

    def run() -> None:
        own = session.fresh()
        while True:
            record_run(own, command, 0, ())
            if ending.wait(ALIVE_SECONDS):
                return

    thread = threading.Thread(target=run, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def announce(command: str, data: dict[str, Any], text: str) -> None:
    """Print what scripts wait for, once the server listens."""
    if click.get_current_context().params["as_json"]:
        say(envelope(command, code=0, data=data))
    elif not is_quiet():
        say(text)
