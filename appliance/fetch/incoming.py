"""A response as it comes in: each read within the time and the bytes of its exchange."""

from __future__ import annotations

import io
import socket
import ssl
import struct
from typing import Any, Final

from appliance.fetch.exchange import Exchange
from appliance.fetch.head import NotHttpError, read_head
from appliance.patterns import pattern

POLL_SECONDS: Final = 0.25  # how soon whoever waits notices that its exchange was stopped
OVER: Final = (TimeoutError, BlockingIOError)  # no time is left of a turn to wait
READ_AHEAD_BYTES: Final = 16 * 1024  # at most: a head and most of a tile come with one read
READ_BYTES: Final = 64 * 1024  # of a body at a time, where nobody knows how long it is
_LINE_BYTES: Final = 64 * 1024  # of a chunk's size with all that is said about it, or a trailer
_CHUNK_SIZE: Final = pattern(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")


def wait_in_turns(sock: socket.socket) -> None:
    """Have the kernel end each wait of a blocking socket in time to look whether all is well."""
    seconds, rest = divmod(POLL_SECONDS, 1)
    limit = struct.pack("ll", int(seconds), int(rest * 1e6))  # struct timeval
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def allow(sock: socket.socket, exchange: Exchange) -> None:
    """Let the next operation take as long as it may, or end with one of OVER.

    Raises as seconds_left does. Python polls a socket that has a timeout before each operation,
    so one that may take a while has none, but what wait_in_turns gave it. Not so with TLS,
    which goes on waiting then.
    """
    left = exchange.seconds_left()
    seconds: float | None = min(left, POLL_SECONDS)
    if left >= POLL_SECONDS and not isinstance(sock, ssl.SSLSocket):
        seconds = None
    if sock.gettimeout() != seconds:  # else it is one system call for nothing
        sock.settimeout(seconds)


class _Reader(io.RawIOBase):
    """Reads a socket within the time and bytes of one exchange."""

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._sock = sock
        self._exchange = exchange
        self.is_over = False  # nothing more is read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.is_over:
            allow(self._sock, self._exchange)
            try:
                n_bytes = self._sock.recv_into(buffer)
            except OVER:
                continue
            self._exchange.count(n_bytes)
            return n_bytes
        return 0


class Incoming:
    """A response: its head, and its body once somebody reads it.

    Raises OSError, NotHttpError and what the exchange raises.
    """

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._reader = _Reader(sock, exchange)
        self._file = io.BufferedReader(self._reader, READ_AHEAD_BYTES)
        self.head = read_head(self._file.readline)
        self.leaves_connection = False  # to another request: it was read to an end that it has

    def read(self, length: int | None, max_bytes: int) -> bytes:
        """Return the body; of a longer one only that it has more than `max_bytes`.

        `length`: what it is said to be, if anything; without it and without chunks the
        connection ends where the body does.
        """
        if not self.head.has_body:
            length = 0
        if length is not None:
            body = self._read(min(length, max_bytes + 1))
            is_whole = len(body) == length
        elif "transfer-encoding" in self.head.values:
            body, is_whole = self._read_chunks(max_bytes)
        else:
            return self._read_to_end(max_bytes)
        keeps = is_whole and self.head.keeps_connection
        self.leaves_connection = keeps and not self._is_followed()
        return body

    def _is_followed(self) -> bool:
        """Whether anything came behind the body; what is left of it would begin the next answer."""
        self._reader.is_over = True
        return bool(self._file.peek(1))

    def _read(self, n_bytes: int) -> bytes:
        data = self._file.read(n_bytes)
        if len(data) < n_bytes:
            raise ConnectionError("the connection ended before the answer did")
        return data

    def _read_to_end(self, max_bytes: int) -> bytes:
        body = bytearray()
        while len(body) <= max_bytes:
            piece = self._file.read(min(READ_BYTES, max_bytes + 1 - len(body)))
            if not piece:
                break
            body += piece
        return bytes(body)

    def _read_chunks(self, max_bytes: int) -> tuple[bytes, bool]:
        """Return what is in the chunks, and whether that is all of it."""
        body = bytearray()
        while left := self._read_chunk_size():
            while left:
                piece = self._read(min(left, READ_BYTES, max_bytes + 1 - len(body)))
                body += piece
                left -= len(piece)
                if len(body) > max_bytes:
                    return bytes(body), False
            if self._read(2) != b"\r\n":
                raise NotHttpError("a chunk of the body is longer than it says")
        while self._file.readline(_LINE_BYTES) not in (b"\r\n", b"\n", b""):
            pass  # trailers, which say nothing that anybody asked for
        return bytes(body), True

    def _read_chunk_size(self) -> int:
        line = self._file.readline(_LINE_BYTES)
        match = _CHUNK_SIZE.fullmatch(line)
        if match is not None:
            return int(match[1], 16)
        if len(line) < _LINE_BYTES and not line.endswith(b"\n"):
            raise ConnectionError("the connection ended before the answer did")
        raise NotHttpError(f"a chunk of the body has no size: {line[:40]!r}")
