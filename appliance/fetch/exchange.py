"""What one HTTP exchange may still take: time, bytes, and whether anyone still wants it.

A socket knows a timeout for each of its operations only, and a server that sends one byte a
second never meets that. So every operation on a socket (connections.py, incoming.py) first
asks here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from appliance.errors import LimitError, RemoteError
from appliance.fetch.pacing import RunPace

MAX_HEAD_BYTES: Final = 32 * 1024  # status line and headers, interim responses included
SPARE_BYTES: Final = 256 * 1024  # for chunk sizes, trailers, or the body of an error


class Exchange:
    """One request and its response, in one thread."""

    __slots__ = (
        *("url", "clock", "ends", "run", "max_bytes", "stopped", "peer", "certificate"),
        *("addresses", "connecting", "in_body", "_bytes_left"),
    )

    def __init__(
        self,
        url: str,
        clock: Callable[[], float],  # monotonic seconds
        ends: float,  # when, on that clock, the whole response must be here
        run: RunPace,  # what it belongs to; over by then, this is too
        max_bytes: int,  # of the body
        stopped: threading.Event,  # set when nobody wants the response any more
    ) -> None:
        self.url = url
        self.clock = clock
        self.ends = ends
        self.run = run
        self.max_bytes = max_bytes
        self.stopped = stopped
        self.peer: str | None = None  # address and port at the other end; the proxy's, if any
        self.certificate: bytes | None = None  # what it showed, DER; None without TLS
        self.addresses: tuple[str, ...] = ()  # that the resolver gave for its connection
        self.connecting = False  # nothing of the request can have left
        self.in_body = False  # the status line and headers are complete
        self._bytes_left = MAX_HEAD_BYTES

    def seconds_left(self) -> float:
        """Return how long the next operation may take, which is more than nothing.

        Raises RemoteError if time is up: reason `timeout` for this request, `run-timeout`
        for the run, `slice-over` for its slice, `stopped` if nobody waits for it.
        """
        if self.stopped.is_set():
            raise RemoteError(f"{self.url}: stopped", reason="stopped")
        run_seconds = self.run.seconds_left(self.url)
        now = self.clock()
        if now >= self.ends:
            raise RemoteError(
                f"{self.url}: no complete answer in time",
                reason="timeout",
                next_step="try again later; the server may be overloaded, or stalling us",
            )
        return min(self.ends - now, run_seconds)

    def begin_body(self) -> None:
        """Take note that the head is complete, and grant the bytes of a body.

        Twice the body's limit leaves room for honest chunks, but none for chunk
        extensions and trailers without end.
        """
        self.in_body = True
        self._bytes_left = 2 * self.max_bytes + SPARE_BYTES

    def count(self, n_bytes: int) -> None:
        """Count bytes that came in; raises LimitError once they are too many."""
        self._bytes_left -= n_bytes
        if self._bytes_left < 0:
            part = "body" if self.in_body else "headers"
            raise LimitError(f"{self.url}: the server sends {part} without end", reason=part)
