"""The HTTP server around what answers requests: bounded in everything.

Requests are framed strictly by waitress and by channel.py. Idle and slow clients, and those
whose answer is still to come, cost a socket, never a thread (work.py). Added here: a deadline
for requests that drip in, and a loop that a signal ends.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import threading
from collections.abc import Callable, Collection
from typing import Any, Final

from appliance.errors import ConfigError
from appliance.serve.channel import Refused, channel_class
from appliance.serve.routes import Handler
from appliance.serve.work import MAX_QUICK_BYTES, Work

THREADS: Final = 64  # requests in work at once
CONNECTIONS: Final = 2000  # open at once, if we may have so many files
IDLE_SECONDS: Final = 30
REQUEST_SECONDS: Final = 20  # from the first byte of a request to its last
MAX_HEADER_BYTES: Final = 32 * 1024
STOP_SECONDS: Final = 30  # for requests in work when we are told to stop
_CLEANUP_SECONDS: Final = 2
_BACKLOG: Final = 1024
_SPARE_FILES: Final = 128  # for the store, temporary buffers and the like
_LOOP_SECONDS: Final = 1.0
_NO_APPLICATION: Final = object()  # of WSGI, which waitress wants to see: channel.py asks us


class HttpServer:
    """A server that is bound to its address, and runs until it is told to stop."""

    def __init__(
        self,
        answer: Handler,
        host: str,
        port: int,
        max_body_bytes: int,
        *,
        on_refused: Callable[[Refused], None] = lambda _: None,
        quick_methods: Collection[str] = (),
    ) -> None:
        """Bind; raises ConfigError if the address cannot be had. Port 0 takes a free one.

        `answer` is called in a thread of its own, but for `quick_methods` and a body that is
        not large in the loop's: then it must not wait for anything. `on_refused` hears, in any
        thread, of what never reached it.
        """
        self._sockets: dict[int, Any] = {}
        self._stopping = threading.Event()
        try:
            # Before waitress, which would leave threads and sockets behind if this fails.
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error}",
                reason="bind",
                next_step="choose another address with --bind HOST:PORT",
            ) from error
        self._server = _create(listening, max_body_bytes, self._sockets)
        self._server.on_refused = on_refused
        self._server.answer = answer
        self._pull_trigger = self._server.pull_trigger
        self._work = Work(self._pull_trigger)
        self._server.pull_trigger = self._work.wake
        self._server.wait_for = self._work.wait_for
        self._quick_methods = frozenset(quick_methods)
        self._server.add_task = self._add_task
        self.host = str(self._server.effective_host)
        self.port = int(self._server.effective_port)

    @property
    def url(self) -> str:
        """Where the server is reached."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def run(self) -> None:
        """Serve until `stop` is called; requests in work by then are still answered."""
        loop = self._server.asyncore.loop
        while not self._stopping.is_set():
            loop(timeout=_LOOP_SECONDS, use_poll=True, map=self._sockets, count=1)
            self._work.run()
        self._server.accepting = False
        self._server.task_dispatcher.shutdown(timeout=STOP_SECONDS)
        self._work.finish(STOP_SECONDS)  # last: what threads had in work may be answered later

    def stop(self) -> None:
        """Make `run` return soon. Safe in a signal handler and in any thread."""
        self._stopping.set()
        with contextlib.suppress(OSError):  # closed already
            self._pull_trigger()

    def _add_task(self, channel: Any) -> None:
        if channel.hold():
            return
        request = channel.requests[0]
        is_quick = not request.error and request.command in self._quick_methods
        if is_quick and request.body_bytes_received <= MAX_QUICK_BYTES:
            self._work.add(channel)
        else:
            self._server.task_dispatcher.add_task(channel)

    def close(self) -> None:
        """Close every socket, and the files that unread answers lie in."""
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        for one in list(self._sockets.values()):
            one.close()


def _create(
    listening: socket.socket,
    max_body_bytes: int,
    sockets: dict[int, Any],
) -> Any:
    from waitress.server import create_server  # type: ignore[import-untyped]

    # More clients than threads is what the queue is for; it is nothing to tell an operator.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = create_server(
        _NO_APPLICATION,
        map=sockets,
        sockets=[listening],
        threads=THREADS,
        ident=None,
        connection_limit=_connection_limit(),
        channel_timeout=IDLE_SECONDS,
        cleanup_interval=_CLEANUP_SECONDS,
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=max_body_bytes + 1,
        asyncore_use_poll=True,
        log_socket_errors=False,
        # Who may say what a proxy says is decided in proxies.py.
        clear_untrusted_proxy_headers=False,
    )
    server.channel_class = channel_class()
    server.maintenance = lambda now: _close_slow(server, now)
    return server


def _close_slow(server: Any, now: float) -> None:
    """Close connections that are idle or not read, and those whose request is slow to arrive."""
    for channel in server.active_channels.values():
        idle = now - channel.last_activity > IDLE_SECONDS
        slow = channel.request is not None and now - channel.request_began_at > REQUEST_SECONDS
        if (not channel.requests and (idle or slow)) or (channel.is_held and idle):
            channel.will_close = True


def _connection_limit() -> int:
    """Return how many connections we may have, after asking for as many files as needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(1, min(CONNECTIONS, soft - _SPARE_FILES))
