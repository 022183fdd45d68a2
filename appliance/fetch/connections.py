"""Connections that never outlast their exchange, and what their failures mean.

urllib3's own classes with three methods replaced: how a connection is opened, written to
and read from. Importing this costs what urllib3 costs; http.py does so with its first client.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, InvalidHeader

from appliance.fetch.exchange import Exchange, current_exchange

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

CONNECT_SECONDS: Final = 10.0  # for each address of a name, and for the TLS handshake
POLL_SECONDS: Final = 0.25  # how soon a reader notices that its exchange was stopped
WRITE_BYTES: Final = 16 * 1024  # one TLS record: no single write takes longer than allowed

# All that requests, urllib3, http.client and ssl raise for what a server or a network does.
FAILURES: Final = (OSError, HTTPError, http.client.HTTPException)


class _Reader(io.RawIOBase):
    """Reads a socket within the time and bytes of one exchange."""

    def __init__(self, sock: socket.socket, file: io.BufferedReader, exchange: Exchange) -> None:
        self._sock = sock
        self._file = file  # never read; while it is open the socket stays so
        self._exchange = exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._sock.settimeout(min(self._exchange.seconds_left(), POLL_SECONDS))
            try:
                n_bytes = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            # A proxy's tunnel is read before the TLS handshake, which has this timeout too.
            self._sock.settimeout(CONNECT_SECONDS)
            if n_bytes == 0 and not self._exchange.in_body:
                # http.client would take half a head for a whole one, with nothing to follow.
                raise ConnectionError("the server closed it before it had answered")
            self._exchange.count(n_bytes)
            return n_bytes

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response read through a _Reader."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        exchange = current_exchange()
        with contextlib.suppress(OSError):  # a reset may have come by now; reading will tell
            exchange.peer = "{} port {}".format(*sock.getpeername())
        if isinstance(sock, ssl.SSLSocket):
            exchange.certificate = sock.getpeercert(binary_form=True)
            # Else a connection that an attacker cut looks like the end of a response.
            sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        self.fp = io.BufferedReader(_Reader(sock, self.fp, exchange))

    def begin(self) -> None:
        super().begin()
        current_exchange().begin_body()


class _Bounded(HTTPConnection):
    """Opens and writes within the time of the exchange."""

    response_class = _Response
    addresses: tuple[str, ...] = ()  # what the resolver said when it was opened

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; the resolver keeps time of its own."""
        exchange = current_exchange()
        exchange.connecting = True
        failure = OSError(f"{self.host} has no address")
        found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        self.addresses = tuple(str(address[0]) for *_, address in found)
        for *_, address in found:
            timeout = min(exchange.seconds_left(), CONNECT_SECONDS)
            try:
                sock = socket.create_connection((str(address[0]), self.port), timeout)
            except OSError as error:
                failure = error
                continue
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            exchange.connecting = False
            return sock
        raise failure

    def getresponse(self) -> Any:
        # A connection that is used again was resolved for an earlier exchange.
        current_exchange().addresses = self.addresses
        return super().getresponse()

    def send(self, data: Any) -> None:
        view = memoryview(data)
        for start in range(0, len(view), WRITE_BYTES):
            seconds = current_exchange().seconds_left()
            if self.sock is not None:  # else it is about to be connected, with a timeout
                self.sock.settimeout(seconds)
            super().send(view[start : start + WRITE_BYTES])


class _BoundedTLS(_Bounded, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTLS


def open_adapter(connections: int, proxy: str | None) -> HTTPAdapter:
    """Return a pool of this many bounded connections to any one server."""
    from requests.adapters import HTTPAdapter

    adapter = HTTPAdapter(pool_maxsize=connections)
    adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    if proxy is not None:
        manager = adapter.proxy_manager_for(proxy)
        manager.pool_classes_by_scheme = adapter.poolmanager.pool_classes_by_scheme
    return adapter


def explain_failure(failure: BaseException, *, in_body: bool) -> tuple[str, str]:
    """Return the reason word and the text of what lies behind one of FAILURES."""
    for error in _causes(failure):
        if isinstance(error, ssl.SSLCertVerificationError):
            return "tls", f"its certificate does not verify: {error.verify_message}"
        if isinstance(error, TimeoutError):
            return "timeout", "connecting or sending took too long"
        if isinstance(error, http.client.IncompleteRead | ssl.SSLEOFError | ConnectionError):
            if in_body:
                return "cut-body", "the connection ended before the answer did"
            return "unreachable", f"the connection failed: {error}"
        if isinstance(error, ssl.SSLError):
            return "tls", f"TLS failed: {error}"
        if isinstance(error, http.client.HTTPException | InvalidHeader):
            return "bad-response", f"what came is not HTTP: {error!r:.100}"
    return "unreachable", str(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it wraps, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
