"""Run an HTTP server as a process of its own, for as long as a block lasts."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

START_SECONDS = 30.0
STOP_SECONDS = 10.0
ATTEMPTS = 3  # a port that was free may be taken by the time the server wants it


@contextmanager
def service(
    command: Callable[[Sequence[int]], Sequence[str | Path]],
    ports: int,
    log_file: Path,
    health_path: str = "/healthz",
    *,
    only_connects: bool = False,
) -> Iterator[str]:
    """Run `command(free ports)`, which has to answer `health_path` at the first of them.

    With `only_connects` it is enough that it takes connections there: it speaks no plain HTTP.
    Yields its URL; ends the process, by force if need be, when the block ends.
    """
    for attempt in range(1, ATTEMPTS + 1):
        free = _free_ports(ports)
        with log_file.open("wb") as log:
            process = subprocess.Popen(command(free), stdout=log, stderr=log)
        try:
            if _answers(process, free[0], None if only_connects else health_path):
                yield f"http://127.0.0.1:{free[0]}"
                return
        finally:
            _stop(process)
        said = log_file.read_text(errors="replace")[-2000:]
        if attempt == ATTEMPTS or "address already in use" not in said.lower():
            raise AssertionError(f"{command(free)[0]} did not start; it said:\n{said}")


def _answers(process: subprocess.Popen[bytes], port: int, health_path: str | None) -> bool:
    """Wait until the server is healthy; False if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            if health_path is None:
                connection.connect()
                return True
            connection.request("GET", health_path)
            if connection.getresponse().status == 200:
                return True
        except (OSError, HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    """Find distinct free ports, by holding them all at once."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
