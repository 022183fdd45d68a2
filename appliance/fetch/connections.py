"""Connections that never outlast their exchange, and what their failures mean.

urllib3's own classes with three methods replaced: how a connection is opened, written to
and read from. Importing this costs what urllib3 costs; http.py does so with its first client.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, InvalidHeader

from appliance.fetch.exchange import Exchange, current_exchange
from appliance.fetch.response import (
    CLIENT_CERTIFICATE,
    SET_CERTIFICATE,
    SET_USER,
    WANTS_USER,
)

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

CONNECT_SECONDS: Final = 10.0  # for each address of a name, and for the TLS handshake
POLL_SECONDS: Final = 0.25  # how soon a reader notices that its exchange was stopped
WRITE_BYTES: Final = 16 * 1024  # one TLS record: no single write takes longer than allowed

_WANTS_CERTIFICATE: Final = (
    *("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA"),
    *("SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
)
_HANDSHAKE_REFUSED: Final = "SSLV3_ALERT_HANDSHAKE_FAILURE"
_TUNNEL: Final = re.compile("Tunnel connection failed: ([0-9]{3}) ?(.{0,80})")
_UNKNOWN_ISSUER: Final = (2, 18, 19, 20, 21)  # X509_V_ERR_*: no anchor was reached
_EXPIRED: Final = (9, 10)  # not yet valid; expired

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
        host = self._dns_host.strip("[]")  # a proxy's address of version 6 keeps its brackets
        found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
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


def open_adapter(
    connections: int, proxies: Sequence[str], context: Callable[[], ssl.SSLContext]
) -> HTTPAdapter:
    """Return a pool of this many bounded connections to any one server, through any of `proxies`.

    `context` is asked once, for the first connection over TLS: reading a system's authorities
    takes longer than asking a log over plain HTTP.
    """
    from requests.adapters import HTTPAdapter

    shared = functools.cache(context)
    lock = threading.Lock()

    class Adapter(HTTPAdapter):
        """An adapter whose TLS is ours: no list of authorities of its own."""

        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            if conn.scheme == "https":
                with lock:
                    conn.conn_kw["ssl_context"] = shared()
                conn.cert_reqs = "CERT_REQUIRED"

    adapter = Adapter(pool_maxsize=connections)
    adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    for proxy in proxies:
        manager = adapter.proxy_manager_for(proxy)
        manager.pool_classes_by_scheme = adapter.poolmanager.pool_classes_by_scheme
    return adapter


class Told(NamedTuple):
    """What a failure means: the reason word, the text, and what to do."""

    reason: str
    text: str
    next_step: str = "check the URL and the network"


def explain_failure(failure: BaseException, *, in_body: bool, proxy: str | None = None) -> Told:
    """Say what lies behind one of FAILURES; `proxy` is what the request went through."""
    through = "" if proxy is None else f" (through the proxy {proxy})"
    causes = tuple(_causes(failure))
    # A server that refuses a client does so after its side of the handshake: the alert may
    # come beside an end of the connection that a write met first.
    for error in causes:
        if isinstance(error, ssl.SSLCertVerificationError):
            return _distrusted(error)
        if isinstance(error, ssl.SSLError) and error.reason in _WANTS_CERTIFICATE:
            return Told("tls", f"TLS failed: the server {CLIENT_CERTIFICATE}", SET_CERTIFICATE)
        if isinstance(error, ssl.SSLError) and error.reason == _HANDSHAKE_REFUSED:
            text = "TLS failed: the server refuses the handshake, as one does that"
            return Told("tls", f"{text} {CLIENT_CERTIFICATE}", SET_CERTIFICATE)
    for error in causes:
        if isinstance(error, TimeoutError):
            return Told("timeout", f"connecting or sending took too long{through}")
        if isinstance(error, http.client.IncompleteRead | ssl.SSLEOFError | ConnectionError):
            if in_body:
                return Told("cut-body", "the connection ended before the answer did")
            if isinstance(error, ssl.SSLEOFError):
                text = "ended in the middle of TLS, as one that"
                return Told(
                    "unreachable",
                    f"the connection {text} {CLIENT_CERTIFICATE} may do{through}",
                    f"check the URL and the network; {SET_CERTIFICATE}, if it is that",
                )
            return Told("unreachable", f"the connection failed: {error}{through}")
        if isinstance(error, ssl.SSLError):
            return Told("tls", f"TLS failed: {error}")
        if isinstance(error, http.client.HTTPException | InvalidHeader):
            return Told("bad-response", f"what came is not HTTP: {error!r:.100}")
        if refused := _TUNNEL.search(str(error)):
            return _proxy_refused(int(refused[1]), refused[2], proxy)
    return Told("unreachable", f"{error}{through}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it wraps, outermost first.

    urllib3 keeps what it caught as an argument of its own exception, and no other trace of it.
    """
    while error is not None:
        yield error
        yield from (one for one in error.args if isinstance(one, BaseException))
        error = error.__cause__ or error.__context__


def _distrusted(error: ssl.SSLCertVerificationError) -> Told:
    """Say why a server's certificate was refused."""
    text = f"its certificate does not verify: {error.verify_message}"
    if error.verify_code in _UNKNOWN_ISSUER:
        return Told(
            "tls",
            text,
            "if an authority of your own issued it, or a proxy here opens TLS: set http.caFile to"
            " that authority's certificate (PEM), or add it to the system's store",
        )
    if error.verify_code in _EXPIRED:
        return Told("tls", text, "check this machine's clock; else its operator must renew it")
    return Told("tls", text)


def _proxy_refused(status: int, phrase: str, proxy: str | None) -> Told:
    """Say what a proxy meant that opened no tunnel."""
    named = proxy or "the proxy"
    if status == 407:
        return Told("proxy", f"the proxy {named} {WANTS_USER}", SET_USER)
    return Told(
        "proxy",
        f"the proxy {named} does not connect us to it: {status} {phrase}".rstrip(),
        "have this host and port allowed there; or name the host in http.noProxy",
    )
