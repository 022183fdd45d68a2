"""An HTTP proxy on loopback that misbehaves as networks and servers do.

It stands before a log. Reads pass. Of the writes a seeded share is answered 429 or 503,
cut off before the log sees it, cut off after the log took it, or answered with half of
the body. What it saw it writes down, one JSON line a write, before the client hears of
it: that record, not the client's, is what a test replays.
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

UPSTREAM_SECONDS: Final = 60.0

NONE: Final = "none"
TOO_MANY: Final = "429"
UNAVAILABLE: Final = "503"
RESET_BEFORE: Final = "reset-before"  # the log never saw it
RESET_AFTER: Final = "reset-after"  # the log took it, nobody was told
HALF_BODY: Final = "half-body"  # the log took it, and half of the answer arrived

FAULTS: Final[Mapping[str, float]] = {
    TOO_MANY: 0.08,
    UNAVAILABLE: 0.08,
    RESET_BEFORE: 0.04,
    RESET_AFTER: 0.05,
    HALF_BODY: 0.05,
}
LOST: Final = (RESET_AFTER, HALF_BODY)  # faults that hide what the log did


@dataclass(frozen=True, slots=True)
class Write:
    """One write, as the proxy saw it."""

    at: float  # Unix seconds, when its last byte had come
    request: str  # SHA-256 of the body, hex
    fault: str
    status: int  # of the log; 0 if it was not asked, or did not answer
    index: int  # where the log put it, or had it; -1: unknown
    told: bool  # whether the client still listened when it was answered


@dataclass
class FaultProxy:
    """A running proxy and its record."""

    upstream: str  # URL
    record: Path  # JSON Lines
    seed: int
    faults: Mapping[str, float]
    retry_after: int  # seconds, in 429 and half of the 503s
    clock: Callable[[], float] = time.time  # Unix seconds
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 a test's dice

    def draw(self) -> str:
        """Choose what happens to the next write."""
        with self._lock:
            thrown = self._random.random()
        for fault, share in self.faults.items():
            if thrown < share:
                return fault
            thrown -= share
        return NONE

    def write_down(self, write: Write) -> None:
        """Add to the record."""
        line = json.dumps(asdict(write)) + "\n"
        with self._lock, self.record.open("a") as file:
            file.write(line)

    def writes(self) -> list[Write]:
        """Return everything that was seen, in the order in which it was answered."""
        with self._lock:
            text = self.record.read_text() if self.record.exists() else ""
        return [Write(**json.loads(line)) for line in text.split("\n")[:-1]]


@contextmanager
def fault_proxy(
    upstream: str,
    record: Path,
    *,
    seed: int,
    faults: Mapping[str, float] = FAULTS,
    retry_after: int = 1,
    clock: Callable[[], float] = time.time,
) -> Iterator[FaultProxy]:
    """Run a proxy before `upstream` on a free loopback port until the block ends."""
    proxy = FaultProxy(upstream, record, seed, faults, retry_after, clock)

    class Handler(_Handler):
        proxied = proxy

    with _Server(("127.0.0.1", 0), Handler) as server:
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, name="fault proxy")
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that are killed are the purpose of the exercise."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds an idle connection is kept
    proxied: FaultProxy

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the record says it."""

    def do_GET(self) -> None:
        """Pass a read on."""
        status, headers, body = self._ask("GET", None)
        self._answer(status or 502, headers, body)

    def do_POST(self) -> None:
        """Pass a write on, or do not, and tell the truth about it, or do not."""
        length = int(self.headers.get("Content-Length", "0"))
        request = self.rfile.read(length)
        if len(request) != length:
            self.close_connection = True
            return  # the client died in the middle of it
        at = self.proxied.clock()
        fault = self.proxied.draw()
        digest = sha256(request).hexdigest()
        status, headers, body = 0, dict[str, str](), b""
        if fault not in (TOO_MANY, UNAVAILABLE, RESET_BEFORE):
            status, headers, body = self._ask("POST", request)
        index = _index(status, headers, body)
        # Written down before it is told: a client that knows of it is in the record.
        told = fault in (NONE, TOO_MANY, UNAVAILABLE) and self._listens()
        self.proxied.write_down(Write(at, digest, fault, status, index, told))
        if fault in (RESET_BEFORE, RESET_AFTER):
            self._reset()
        elif fault in (TOO_MANY, UNAVAILABLE):
            wait = {"Retry-After": str(self.proxied.retry_after)}
            examined = fault == TOO_MANY or len(request) % 2 == 0
            answer = b'{"code":14,"message":"later, please","details":[]}'
            self._answer(int(fault), wait if examined else {}, answer)
        elif fault == HALF_BODY:
            self._answer(status or 502, headers, body, half=True)
        else:
            self._answer(status or 502, headers, body)

    def _ask(self, method: str, request: bytes | None) -> tuple[int, dict[str, str], bytes]:
        """Ask the log; status 0 if there was no whole answer."""
        place = urlsplit(self.proxied.upstream)
        connection = HTTPConnection(place.netloc, timeout=UPSTREAM_SECONDS)
        kept = ("content-type", "accept")
        headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
        try:
            connection.request(method, place.path + self.path, request, headers)
            answer = connection.getresponse()
            passed = ("content-type", "location", "etag", "x-log-index", "content-encoding")
            return (
                answer.status,
                {name: value for name, value in answer.getheaders() if name.lower() in passed},
                answer.read(),
            )
        except (OSError, HTTPException):
            return 0, {}, b""
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes, *, half: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        if half:
            self.wfile.flush()
            self._hang_up()

    def _listens(self) -> bool:
        """Whether the client has not hung up, as far as that is known here."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if not readable:
            return True
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _reset(self) -> None:
        """End the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
        # The file objects hold the socket open; closing the descriptor sends what it has to.
        with suppress(OSError):
            socket.socket(fileno=self.connection.detach()).close()


def _index(status: int, headers: Mapping[str, str], body: bytes) -> int:
    """Return where the log says an entry is, by header or by answer; -1 if it does not say."""
    lower = {name.lower(): value for name, value in headers.items()}
    if "x-log-index" in lower:
        return int(lower["x-log-index"])
    if status not in (200, 201):
        return -1
    answer = json.loads(body)
    entry = answer if "logIndex" in answer else next(iter(answer.values()))
    return int(entry["logIndex"])
