"""HTTP that always ends: bounded in time, bytes, attempts and rate.

What it never does: follow a redirect, keep a cookie, read anything from the environment
(who makes its settings does, once a run), decode a body that nobody asked to have encoded,
or wait without end.
The one thing out of its hands is the system's resolver, which keeps time of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from appliance.errors import ConfigError, RemoteError
from appliance.fetch.exchange import Exchange
from appliance.fetch.pacing import BACKOFF, MAX_PAUSE_SECONDS, RunPace
from appliance.fetch.proxies import NO_PROXIES, Proxies
from appliance.fetch.response import Response, read_response, status_error
from appliance.fetch.tls import TlsSettings, client_context
from appliance.value import frozen
from appliance.version import __version__

MAX_CONNECTIONS: Final = 32
RUN_SECONDS: Final = 3600.0
WORTH_ANOTHER_TRY: Final = frozenset(
    {"unreachable", "timeout", "cut-body", "rate-limited", "unavailable"}
)


@frozen
class HttpSettings:
    """The `http` section of the configuration (docs/configuration.md), and limits it has not."""

    connections: int = 16  # at a time, 1..32
    max_requests_per_second: float | None = None  # None: as fast as it goes
    contact: str = ""  # mail or web address, for the User-Agent
    proxies: Proxies = NO_PROXIES
    tls: TlsSettings = TlsSettings()
    request_seconds: float = 60.0  # for one attempt, from connecting to the last byte
    attempts: int = 4  # of one GET
    # URLs, each with a slash at its end, and what gives the bearer token (RFC 6750) for all below.
    tokens: tuple[tuple[str, Callable[[], str]], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= MAX_CONNECTIONS:
            raise ConfigError(
                f"http.connections: expected 1 to {MAX_CONNECTIONS}, got {self.connections}"
            )
        rate = self.max_requests_per_second
        if rate is not None and not 0 < rate < float("inf"):
            raise ConfigError(f"http.maxRequestsPerSecond: expected a positive number, got {rate}")
        if not (self.contact.isascii() and self.contact.isprintable()):
            raise ConfigError(f"http.contact: expected printable ASCII, got {self.contact!r}")


class HttpClient:
    """The HTTP of one run: its connections, its end, its rate. Threads may share it."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        run_seconds: float = RUN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from appliance.fetch.connections import Connections

        self.settings = settings
        self._pace = RunPace(clock, sleep, run_seconds, settings.max_requests_per_second)
        if settings.tls != TlsSettings():  # what was configured is wrong now, not at some request
            client_context(settings.tls)
        self._connections = Connections(settings.connections, lambda: client_context(settings.tls))
        contact = f" (+{settings.contact})" if settings.contact else ""
        self._user_agent = f"attestor/{__version__}{contact}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every idle connection."""
        self._connections.close()

    def begin_slice(self, seconds: float, earned: float) -> None:
        """End a slice of the run in so many seconds, and `earned` later for each response.

        Who is slow then ends with a RemoteError `slice-over`, and may begin another one.
        """
        self._pace.begin_slice(seconds, earned)

    def get(
        self,
        url: str,
        max_bytes: int,
        *,
        gzip_allowed: bool = False,
        stopped: threading.Event | None = None,
    ) -> Response:
        """Return the 200 response to a GET, trying again while that is promising.

        With `gzip_allowed` the server may compress the body, and `max_bytes` bounds both
        forms. Once `stopped` is set it ends within about a quarter of a second.
        Raises RemoteError, LimitError or MalformedError.
        """
        stopped = stopped or threading.Event()
        headers = {"Accept-Encoding": "gzip, identity" if gzip_allowed else "identity"}
        failures = 0
        while True:
            try:
                response = self._exchange(
                    "GET",
                    url,
                    headers,
                    None,
                    max_bytes,
                    self.settings.request_seconds,
                    stopped,
                    gzip_allowed=gzip_allowed,
                )
                if response.status == 200:
                    return response
                raise status_error(response)
            except RemoteError as error:
                failures += 1
                pause = BACKOFF.pause(failures, 1.0, error.retry_after)
                if (
                    error.reason not in WORTH_ANOTHER_TRY
                    or failures >= self.settings.attempts
                    or pause > MAX_PAUSE_SECONDS
                    or not self._pace.has(pause)
                ):
                    raise
            self._pace.pause(pause, stopped)

    def post(
        self,
        url: str,
        body: bytes,
        max_bytes: int,
        *,
        content_type: str,
        seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the response to one POST, whatever its status; it is sent once.

        Raises RemoteError, LimitError or MalformedError. Then nobody knows whether the
        server acted on it.
        """
        sent = {"Accept-Encoding": "identity", "Content-Type": content_type, **(headers or {})}
        return self._exchange("POST", url, sent, body, max_bytes, seconds, threading.Event())

    def _authorization(self, url: str) -> dict[str, str]:
        """Return what shows a log who we are; nothing to anybody else."""
        for prefix, token in self.settings.tokens:
            if url.startswith(prefix):
                return {"Authorization": f"Bearer {token()}"}
        return {}

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        max_bytes: int,
        seconds: float,
        stopped: threading.Event,
        *,
        gzip_allowed: bool = False,
    ) -> Response:
        from appliance.fetch.connections import FAILURES, explain_failure

        self._pace.take_turn(stopped)
        clock = self._pace.clock
        exchange = Exchange(url, clock, clock() + seconds, self._pace, max_bytes, stopped)
        proxy = self.settings.proxies.of(url)
        sent = {"User-Agent": self._user_agent, **self._authorization(url), **headers}
        try:
            with self._connections.send(method, sent, body, exchange, proxy) as incoming:
                response = read_response(incoming, exchange, gzip_allowed=gzip_allowed)
            self._pace.count_response()
            return response
        except FAILURES as failure:
            told = explain_failure(
                failure, in_body=exchange.in_body, proxy=None if proxy is None else proxy.text
            )
            raise RemoteError(
                f"{url}: {told.text}",
                reason=told.reason,
                next_step=told.next_step,
                nothing_sent=exchange.connecting or told.reason == "proxy",
            ) from failure


def url_prefix(text: str) -> str:
    """Return a configured URL with one slash at its end, ready for a path.

    Raises ConfigError unless it is http:// or https:// with a host, and nothing after its
    path. Plain http:// is the operator's choice: what a log serves proves itself, and no
    redirect can bring us there. A password is refused, because URLs are printed.
    """
    if not _is_http_url(text, {"http", "https"}) or "@" in text:
        raise ConfigError(
            f"expected a URL like https://host/path/, got {text[:200]!r}",
            next_step="give scheme and host, without user, query and fragment",
        )
    return text.rstrip("/") + "/"


def _is_http_url(text: str, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(text)
        # The resolver raises for such a host, and so would reading a port that is none.
        usable = bool(parts.hostname and parts.hostname.encode("idna") and parts.port != 0)
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and not set(text) & set(" ?#\\")
    return usable and plain and parts.scheme in schemes
