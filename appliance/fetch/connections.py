"""Connections that never outlast their exchange, are used again, and what their failures mean.

urllib3's connection classes open sockets and TLS; requests are written here, and what answers
them is read by incoming.py, each operation within the time of the exchange: requests and
urllib3's pools spend three times as long on a tile as all that is needed for it.
Importing this costs what urllib3 costs; http.py does so with its first client.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import re
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from appliance.fetch.exchange import Exchange
from appliance.fetch.incoming import OVER, Incoming, allow, wait_in_turns
from appliance.fetch.proxies import Proxy
from appliance.fetch.response import (
    CLIENT_CERTIFICATE,
    SET_CERTIFICATE,
    SET_USER,
    WANTS_USER,
)

CONNECT_SECONDS: Final = 10.0  # for each address of a name, and for the TLS handshake
WRITE_BYTES: Final = 16 * 1024  # one TLS record: no single write takes longer than allowed

_URL: Final = re.compile("(https?)://([^/?#]+)([^#]*)")
_SAFE: Final = "!$%&'()*+,/:;=?@[]~"  # in a path and query, besides letters, digits and -._
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_WANTS_CERTIFICATE: Final = (
    *("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA"),
    *("SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
)
_HANDSHAKE_REFUSED: Final = "SSLV3_ALERT_HANDSHAKE_FAILURE"
_TUNNEL: Final = re.compile("Tunnel connection failed: ([0-9]{3}) ?(.{0,80})")
_UNKNOWN_ISSUER: Final = (2, 18, 19, 20, 21)  # X509_V_ERR_*: no anchor was reached
_EXPIRED: Final = (9, 10)  # not yet valid; expired

# All that urllib3, http.client and ssl raise for what a server or a network does.
FAILURES: Final = (OSError, HTTPError, http.client.HTTPException)


class _Bounded(HTTPConnection):
    """Opens and writes within the time of the exchange that has it."""

    exchange: Exchange
    addresses: tuple[str, ...] = ()  # what the resolver said when it was opened
    to_proxy: Mapping[str, str] = MappingProxyType({})  # headers that ask a proxy for its tunnel
    peer: str | None = None
    certificate: bytes | None = None  # of the peer, DER

    @property
    def opened(self) -> socket.socket:
        """The socket, once it is connected."""
        found: socket.socket | None = self.sock
        if found is None:
            raise ConnectionError("it is not connected")
        return found

    def begin(self, exchange: Exchange) -> None:
        """Belong to an exchange from now on, and be connected."""
        self.exchange = exchange
        if self.sock is None:
            exchange.connecting = True
            self.connect()
            exchange.connecting = False
            with contextlib.suppress(OSError):  # a reset may have come by now; reading will tell
                self.peer = "{} port {}".format(*self.opened.getpeername())
            if isinstance(self.opened, ssl.SSLSocket):
                self.certificate = self.opened.getpeercert(binary_form=True)
                # Else a connection that an attacker cut looks like the end of a response.
                self.opened.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        exchange.peer, exchange.certificate = self.peer, self.certificate
        exchange.addresses = self.addresses

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; the resolver keeps time of its own."""
        failure = OSError(f"{self.host} has no address")
        host = self._dns_host.strip("[]")  # a proxy's address of version 6 keeps its brackets
        found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
        self.addresses = tuple(str(address[0]) for *_, address in found)
        for *_, address in found:
            timeout = min(self.exchange.seconds_left(), CONNECT_SECONDS)
            try:
                sock = socket.create_connection((str(address[0]), self.port), timeout)
            except OSError as error:
                failure = error
                continue
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            wait_in_turns(sock)
            return sock
        raise failure

    def _tunnel(self) -> None:
        """Have the proxy connect us to the server of our TLS."""
        host = f"[{self._tunnel_host}]" if ":" in str(self._tunnel_host) else self._tunnel_host
        to = f"{host}:{self._tunnel_port}"
        self.send(_head("CONNECT", to, {"Host": to, **self.to_proxy}))
        head = Incoming(self.opened, self.exchange).head
        if head.status != 200:
            raise OSError(f"Tunnel connection failed: {head.status} {head.reason}")
        # It was written to and read from in short waits; a TLS handshake is one wait.
        self.opened.settimeout(min(self.exchange.seconds_left(), CONNECT_SECONDS))

    def send(self, data: Any) -> None:
        left = memoryview(data)
        while left:
            allow(self.opened, self.exchange)
            with contextlib.suppress(*OVER):
                left = left[self.opened.send(left[:WRITE_BYTES]) :]


class _BoundedTLS(_Bounded, HTTPSConnection):
    """The same over TLS."""


class _Server(NamedTuple):
    """Where requests for one scheme, host and port go."""

    scheme: str
    host: str  # without the brackets of an address of version 6
    port: int
    named: str  # as a Host header has it


@functools.lru_cache(maxsize=64)
def _server(scheme: str, authority: str) -> _Server:
    """Take a URL's host and port apart; raises OSError for one that cannot be asked."""
    try:
        parts = urlsplit(f"{scheme}://{authority}")
        port = parts.port or _DEFAULT_PORTS[scheme]
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise OSError(f"no URL of a server: {error}") from error
    if not host or "@" in authority:
        raise OSError("expected a URL of a server, without user and password")
    shown = f"[{host}]" if ":" in host else host
    return _Server(
        scheme, host, port, shown if port == _DEFAULT_PORTS[scheme] else f"{shown}:{port}"
    )


class Connections:
    """Bounded connections, each kept for the next exchange with its server. Threads may share it.

    `context` is asked once, for the first connection over TLS: reading a system's authorities
    takes longer than asking a log over plain HTTP.
    """

    def __init__(self, n_idle: int, context: Callable[[], ssl.SSLContext]) -> None:
        self._n_idle = n_idle  # of one server
        self._make_context = context
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._idle: dict[tuple[_Server, Proxy | None], list[_Bounded]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    @contextlib.contextmanager
    def send(
        self,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None,
        exchange: Exchange,
        proxy: Proxy | None,
    ) -> Iterator[Incoming]:
        """Send a request to the exchange's URL and yield the response, its head read.

        Its connection is used again if all of the body was read by then. Raises one of
        FAILURES for what a server or a network does.
        """
        found = _URL.match(exchange.url)
        if found is None:
            raise OSError("expected a URL like https://host/path")
        server = _server(found[1], found[2])
        path = quote(found[3], safe=_SAFE)
        target = path if path.startswith("/") else f"/{path}"
        lines = {"Host": server.named, **headers}
        if proxy is not None and server.scheme == "http":
            target = f"http://{server.named}{target}"
            lines |= _proxy_headers(proxy)
        if body is not None:
            lines["Content-Length"] = str(len(body))
        connection = self._take(server, proxy)
        is_reusable = False
        try:
            connection.begin(exchange)
            connection.send(_head(method, target, lines) + (body or b""))
            response = Incoming(connection.opened, exchange)
            exchange.begin_body()
            yield response
            is_reusable = response.leaves_connection
        finally:
            if is_reusable:
                self._keep(server, proxy, connection)
            else:
                connection.close()

    def _take(self, server: _Server, proxy: Proxy | None) -> _Bounded:
        with self._lock:
            idle = self._idle.setdefault((server, proxy), [])
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return self._new(server, proxy)
            if connection.is_connected:  # and nothing came that nobody asked for
                return connection
            connection.close()

    def _keep(self, server: _Server, proxy: Proxy | None, connection: _Bounded) -> None:
        with self._lock:
            idle = self._idle.setdefault((server, proxy), [])
            if len(idle) < self._n_idle:
                idle.append(connection)
                return
        connection.close()

    def _new(self, server: _Server, proxy: Proxy | None) -> _Bounded:
        host, port = server.host, server.port
        if proxy is not None:
            through = urlsplit(proxy.url)
            host, port = through.hostname or "", through.port or _DEFAULT_PORTS["http"]
        if server.scheme == "http":
            return _Bounded(host, port)
        connection = _BoundedTLS(
            host, port, ssl_context=self._tls_context(), cert_reqs="CERT_REQUIRED"
        )
        if proxy is not None:
            connection.set_tunnel(server.host, server.port)
            connection.to_proxy = _proxy_headers(proxy)
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = self._make_context()
            return self._context


def _proxy_headers(proxy: Proxy) -> dict[str, str]:
    """Return what tells a proxy who we are: the user and password of its URL, if there are."""
    user, at, _ = urlsplit(proxy.url).netloc.rpartition("@")
    if not at:
        return {}
    name, _, password = user.partition(":")
    told = f"{unquote(name)}:{unquote(password)}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(told).decode()}"}


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return a request's head; raises ValueError for what would be more lines than it says."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    if not all(line.isprintable() for line in lines):
        raise ValueError("a request with control characters in its head")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


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
        if isinstance(error, ssl.SSLEOFError | ConnectionError):
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
        if isinstance(error, http.client.HTTPException):
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
