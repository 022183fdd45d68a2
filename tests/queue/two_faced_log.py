"""A log over HTTP whose writers may be shown another tree than its readers.

Readers are served from `log`; what is posted goes to `written`, which is the same log unless a
test says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from appliance.errors import ApplianceError
from tests.queue.queues import answer
from tests.simulator import SimulatedLog


class TwoFacedLog:
    """What is served: tests change it while the server runs."""

    def __init__(self, log: SimulatedLog) -> None:
        self.log = log
        self.written = log
        self.is_down = False  # for those who write
        self.posts = 0
        self.url = ""


@contextmanager
def two_faced_log(log: SimulatedLog) -> Iterator[TwoFacedLog]:
    """Serve a log until the block ends."""
    served = TwoFacedLog(log)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer as the log for readers would."""
            try:
                self._send(200, served.log.answer(self.path.removeprefix("/")))
            except ApplianceError:
                self._send(404, b"not found")

        def do_POST(self) -> None:
            """Log the entry in the tree for writers."""
            request = self.rfile.read(int(self.headers["Content-Length"]))
            served.posts += 1
            if served.is_down:
                self._send(400, b"{}")
            else:
                self._send(201, answer(served.written, request))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
