"""A real HTTP server on loopback that misbehaves as told, byte for byte.

    with HostileServer() as server:
        server.on("/checkpoint", ok(b"note"))           # these bytes, each time
        server.on("/tile", status(503), ok(b"tile"))    # first this, from then on that
        server.on("/slow", drip(ok(b"note"), 0.05))     # a function that is given the socket
        server.directory = path                         # everything else: files, or 404

A reply that is bytes is sent whole, and the connection kept; what a function leaves open
is closed after it. Nothing blocks for longer than the server lives.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

Talk = Callable[["HostileServer", socket.socket], None]
Reply = bytes | Talk


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]  # by lower-case name
    body: bytes
    connection: int  # which connection of the server's it came on, from 0


class HostileServer(socketserver.ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1 and remembers every request."""

    allow_reuse_address = True
    daemon_threads = False  # closing waits for all of them: none may outlive its test
    request_queue_size = 64

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.stopping = threading.Event()
        self.tls = tls
        self.directory: Path | None = None
        self.requests: list[Request] = []
        self.bugs: list[BaseException] = []  # of the test server itself
        self.n_connections = 0
        self.now_open = 0  # requests being answered at this moment
        self.most_open = 0
        self._replies: dict[str, list[Reply]] = {}
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        with self._lock:
            for sock in self._sockets:  # wake whoever waits for a client
                with contextlib.suppress(OSError):  # the client may have reset it
                    sock.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()
        assert not self.bugs, self.bugs

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The root, with a slash at its end."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"

    @property
    def targets(self) -> list[str]:
        """What was asked for, in order."""
        return [request.target for request in self.requests]

    def on(self, target: str, *replies: Reply) -> str:
        """Answer requests for `target` with these in turn, the last for ever; return its URL."""
        self._replies[target] = list(replies)
        return self.url.rstrip("/") + target

    def reply(self, target: str) -> Reply:
        with self._lock:
            replies = self._replies.get(target)
            if replies:
                return replies.pop(0) if len(replies) > 1 else replies[0]
        file = self.directory and self.directory / target.lstrip("/")
        return ok(file.read_bytes()) if file and file.is_file() else status(404, b"<NoSuchKey/>")

    def count(self, change: int) -> None:
        with self._lock:
            self.now_open += change
            self.most_open = max(self.most_open, self.now_open)

    def opened(self, sock: socket.socket) -> int:
        with self._lock:
            self._sockets.add(sock)
            self.n_connections += 1
            return self.n_connections - 1

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._sockets.discard(request)
        request.close()  # at once: shutting down first would hide a reset or a missing goodbye

    def handle_error(self, request: Any, client_address: Any) -> None:
        import sys

        error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):  # clients may go as they like
            self.bugs.append(error)


class _Handler(socketserver.BaseRequestHandler):
    server: HostileServer

    def handle(self) -> None:
        connection = self.server.opened(self.request)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock = self.request
        if self.server.tls is not None:
            sock = self.server.tls.wrap_socket(sock.dup(), server_side=True)
        with sock if sock is not self.request else socket.socket():
            while (request := _read_request(sock, connection)) is not None:
                self.server.requests.append(request)
                reply = self.server.reply(request.target)
                self.server.count(1)
                try:
                    if not isinstance(reply, bytes):
                        reply(self.server, sock)
                        return
                    sock.sendall(reply)
                finally:
                    self.server.count(-1)


def _read_request(sock: socket.socket, connection: int) -> Request | None:
    """Read one request; our client sends no second one before it has its response."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = sock.recv(65536)
        if not data:
            return None
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    body = bytearray(rest)
    while len(body) < int(headers.get("content-length", 0)):
        body += sock.recv(65536)
    return Request(method, target, headers, bytes(body), connection)


def ok(body: bytes, *headers: str) -> bytes:
    """A whole and honest 200 response."""
    return status(200, body, *headers)


def status(code: int, body: bytes = b"", *headers: str) -> bytes:
    """A whole and honest response."""
    return raw(f"HTTP/1.1 {code} Whatever", f"Content-Length: {len(body)}", *headers, body=body)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A 200 response in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end
    return raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=body)


def raw(*lines: str, body: bytes = b"") -> bytes:
    """Exactly this head, and this body after it."""
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1") + body


def drip(data: bytes, seconds: float) -> Talk:
    """Send one byte at a time, this far apart."""

    def talk(server: HostileServer, sock: socket.socket) -> None:
        for byte in data:
            sock.sendall(bytes([byte]))
            if server.stopping.wait(seconds):
                return

    return talk


def flood(head: bytes, piece: bytes) -> Talk:
    """Send `head` and then `piece` again and again, until the client has gone."""

    def talk(server: HostileServer, sock: socket.socket) -> None:
        sock.sendall(head)
        while not server.stopping.is_set():
            sock.sendall(piece)

    return talk


def stall(data: bytes = b"") -> Talk:
    """Send `data` and then nothing."""

    def talk(server: HostileServer, sock: socket.socket) -> None:
        sock.sendall(data)
        server.stopping.wait()

    return talk


def wait_for(event: threading.Event, then: bytes) -> Talk:
    """Answer once `event` is set."""

    def talk(server: HostileServer, sock: socket.socket) -> None:
        while not event.wait(0.01) and not server.stopping.is_set():
            pass
        sock.sendall(then)

    return talk


def close(data: bytes) -> Talk:
    """Send `data` and close, over TLS without saying so."""

    def talk(server: HostileServer, sock: socket.socket) -> None:
        sock.sendall(data)

    return talk


def say_goodbye(data: bytes) -> Talk:
    """Send `data` and close as TLS wants it closed."""

    def talk(server: HostileServer, sock: socket.socket) -> None:
        sock.sendall(data)
        assert isinstance(sock, ssl.SSLSocket)
        sock.unwrap()

    return talk


def reset(data: bytes = b"") -> Talk:
    """Send `data` and reset the connection."""

    def talk(server: HostileServer, sock: socket.socket) -> None:
        sock.sendall(data)
        # Linger for zero seconds: what TCP does then is send RST.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return talk
