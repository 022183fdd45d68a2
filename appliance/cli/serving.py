"""What every server of this program does around answering: its address, its end, its one line."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import click

from appliance.cli.output import envelope, is_quiet, say
from appliance.serve.http_server import HttpServer


def bind_address(bind: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; raises BadParameter."""
    host, _, port = bind.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"expected HOST:PORT, got {bind!r}", param_hint="--bind")
    return host.removeprefix("[").removesuffix("]"), int(port)


def run_until_signal(server: HttpServer, announce: Callable[[], None]) -> int:
    """Serve until a signal or a failure; return the signal's number."""
    received = [signal.SIGTERM]

    def on_signal(number: int, frame: object) -> None:
        received[0] = signal.Signals(number)
        server.stop()

    before = {one: signal.signal(one, on_signal) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        announce()
        server.run()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    return received[0]


def announce(command: str, data: dict[str, Any], text: str) -> None:
    """Print what scripts wait for, once the server listens."""
    if click.get_current_context().params["as_json"]:
        say(envelope(command, code=0, data=data))
    elif not is_quiet():
        say(text)
