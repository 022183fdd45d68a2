"""Connections that never outlast their exchange, are used again, and what their failures mean.

Sockets, proxies' tunnels and TLS are opened here, requests written, and what answers them is
read by incoming.py, each operation within the time of the exchange. No HTTP package does that:
they know a time for a single operation, and spend three times as long on a tile. http.py
imports this with its first client.
"""

from __future__ import annotations

import contextlib
import functools
import re
import select
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

from appliance.fetch.exchange import Exchange
from appliance.fetch.head import NotHttpError
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
_UNKNOWN_ISSUER: Final = (2, 18, 19, 20, 21)  # X509_V_ERR_*: no anchor was reached
_EXPIRED: Final = (9, 10)  # not yet valid; expired

# All that is raised for what a server or a network does.
FAILURES: Final = (OSError, NotHttpError)


class _TunnelError(OSError):
    """A proxy did not connect us."""

    def __init__(self, status: int, phrase: str) -> None:
        super().__init__(f"no tunnel: {status} {phrase}")
        self.status = status
        self.phrase = phrase  # the proxy's own


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


class _Connection:
    """Opens and writes within the time of the exchange that has it."""

    def __init__(
        self, server: _Server, proxy: Proxy | None, context: ssl.SSLContext | None
    ) -> None:
        self._server = server
        self._proxy = proxy
        self._context = context  # None: without TLS
        self._exchange: Exchange
        self._sock: socket.socket | None = None
        self._arrivals = select.poll()
        self._addresses: tuple[str, ...] = ()  # what the resolver said when it was opened
        self._peer: str | None = None
        self._certificate: bytes | None = None  # of the peer, DER

    @property
    def opened(self) -> socket.socket:
        """The socket, once it is connected."""
        if self._sock is None:
            raise ConnectionError("it is not connected")
        return self._sock

    @property
    def is_idle(self) -> bool:
        """Whether it is open, and nothing came that nobody asked for."""
        return self._sock is not None and not self._arrivals.poll(0)

    def close(self) -> None:
        """Close the socket; again does nothing."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def begin(self, exchange: Exchange) -> None:
        """Belong to an exchange from now on, and be connected."""
        self._exchange = exchange
        if self._sock is None:
            exchange.connecting = True
            self._connect()
            exchange.connecting = False
            with contextlib.suppress(OSError):  # a reset may have come by now; reading will tell
                self._peer = "{} port {}".format(*self.opened.getpeername())
            self._arrivals.register(self.opened, select.POLLIN)
        exchange.peer, exchange.certificate = self._peer, self._certificate
        exchange.addresses = self._addresses

    def send(self, data: bytes) -> None:
        """Write all of it."""
        left = memoryview(data)
        while left:
            allow(self.opened, self._exchange)
            with contextlib.suppress(*OVER):
                left = left[self.opened.send(left[:WRITE_BYTES]) :]

    def _connect(self) -> None:
        host, port = self._server.host, self._server.port
        if self._proxy is not None:
            through = urlsplit(self._proxy.url)
            host, port = through.hostname or "", through.port or _DEFAULT_PORTS["http"]
        self._sock = self._reach(host, port)
        if self._context is not None:
            if self._proxy is not None:
                self._tunnel(_proxy_headers(self._proxy))
            self._begin_tls(self._context)

    def _reach(self, host: str, port: int) -> socket.socket:
        """Connect to the first address that answers; the resolver keeps time of its own."""
        failure = OSError(f"{host} has no address")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._addresses = tuple(str(address[0]) for *_, address in found)
        for *_, address in found:
            timeout = min(self._exchange.seconds_left(), CONNECT_SECONDS)
            try:
                sock = socket.create_connection((str(address[0]), port), timeout)
            except OSError as error:
                failure = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wait_in_turns(sock)
            return sock
        raise failure

    def _tunnel(self, headers: Mapping[str, str]) -> None:
        """Have the proxy connect us to the server."""
        host, port = self._server.host, self._server.port
        to = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.send(_head("CONNECT", to, {"Host": to, **headers}))
        head = Incoming(self.opened, self._exchange).head
        if head.status != 200:
            raise _TunnelError(head.status, head.reason[:80])

    def _begin_tls(self, context: ssl.SSLContext) -> None:
        # A handshake is one wait.
        self.opened.settimeout(min(self._exchange.seconds_left(), CONNECT_SECONDS))
        name = self._server.host.rstrip(".")
        # Else a connection that an attacker cut looks like the end of a response.
        opened = context.wrap_socket(self.opened, server_hostname=name, suppress_ragged_eofs=False)
        self._sock, self._certificate = opened, opened.getpeercert(binary_form=True)


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
        self._idle: dict[tuple[_Server, Proxy | None], list[_Connection]] = {}

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

    def _take(self, server: _Server, proxy: Proxy | None) -> _Connection:
        with self._lock:
            idle = self._idle.setdefault((server, proxy), [])
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return self._new(server, proxy)
            if connection.is_idle:
                return connection
            connection.close()

    def _keep(self, server: _Server, proxy: Proxy | None, connection: _Connection) -> None:
        with self._lock:
            idle = self._idle.setdefault((server, proxy), [])
            if len(idle) < self._n_idle:
                idle.append(connection)
                return
        connection.close()

    def _new(self, server: _Server, proxy: Proxy | None) -> _Connection:
        return _Connection(server, proxy, self._tls_context() if server.scheme == "https" else None)

    def _tls_context(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = self._make_context()
                self._context.set_alpn_protocols(["http/1.1"])
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
                return Told("cut-body", f"the connection ended before the answer did{through}")
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
        if isinstance(error, NotHttpError):
            return Told("bad-response", f"what came is not HTTP: {error}{through}")
        if isinstance(error, _TunnelError):
            return _proxy_refused(error.status, error.phrase, proxy)
    return Told("unreachable", f"{error}{through}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came of, outermost first."""
    while error is not None:
        yield error
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
