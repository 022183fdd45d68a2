"""A log's write API in memory, over a SimulatedLog, that fails in the ways real ones do.

    server = SimulatedServer(log)
    server.next(reset, unavailable)     # what the next requests meet, in order
    server.taken                        # (time, request) of everything the log took

It implements LogWriter, so a Drain takes it as it takes a real log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from appliance.errors import MalformedError, RefusedError, RemoteError
from appliance.jobs.queue.drain import Drain, DrainReport, Pace
from appliance.jobs.queue.settings import read_queue_settings
from appliance.jobs.queue.submit import Server
from appliance.policy.budget import Moment
from appliance.rekor.log_writer import Written, WrittenBefore
from appliance.rekor.request import parse_request
from appliance.rekor.transparency_log_entry import parse_log_entry
from appliance.store.database import Store
from appliance.store.mirror.logs import require_log
from tests.queue.queues import NOW, URL, answer
from tests.simulator import SimulatedLog

Trouble = Callable[["SimulatedServer", bytes], Written | WrittenBefore]


class Clock:
    """Time that goes by only when somebody sleeps."""

    def __init__(self, now: int = NOW) -> None:
        self.now = float(now)
        self.set_back = 0  # seconds by which the wall clock is wrong
        self.naps: list[float] = []

    def moment(self) -> Moment:
        return Moment(int(self.now) - self.set_back, "boot", int(self.now))

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


class SimulatedServer:
    """Takes what it is sent, unless told otherwise."""

    description = URL

    def __init__(self, log: SimulatedLog, clock: Clock | None = None) -> None:
        self.log = log
        self.clock = clock or Clock()
        self.posted: list[bytes] = []
        self.taken: list[tuple[float, bytes]] = []
        self.trouble: Callable[[bytes], Trouble | None] = lambda request: None
        self._next: list[Trouble | None] = []
        self._lock = threading.Lock()

    def next(self, *troubles: Trouble | None) -> None:
        self._next += troubles

    def write(self, request: bytes) -> Written | WrittenBefore:
        with self._lock:
            self.posted.append(request)
            trouble = self._next.pop(0) if self._next else self.trouble(request)
            return self.take(request) if trouble is None else trouble(self, request)

    def take(self, request: bytes) -> Written | WrittenBefore:
        body = parse_request(request).canonical_body
        if body in self.log.entries:
            return WrittenBefore(self.log.entries.index(body))
        entry = parse_log_entry(answer(self.log, request))
        self.taken.append((self.clock.now, request))
        return Written(entry)


def refused(server: SimulatedServer, request: bytes) -> Written:
    raise RefusedError("the log refuses the request (400)", reason="invalid-request")


def foreign(server: SimulatedServer, request: bytes) -> Written:
    raise RemoteError("400, but not the log's", reason="foreign-answer", nothing_sent=True)


def frozen(server: SimulatedServer, request: bytes) -> Written:
    raise RefusedError("this log is frozen (405)", reason="frozen")


def unavailable(server: SimulatedServer, request: bytes) -> Written:
    raise RemoteError("503", reason="unavailable")


def busy(seconds: float) -> Trouble:
    def raises(server: SimulatedServer, request: bytes) -> Written:
        raise RemoteError("429", reason="rate-limited", retry_after=seconds)

    return raises


def unreachable(server: SimulatedServer, request: bytes) -> Written:
    raise RemoteError("refused", reason="unreachable", nothing_sent=True)


def lost_answer(server: SimulatedServer, request: bytes) -> Written:
    """Commit, and then lose the connection."""
    server.take(request)
    raise RemoteError("reset", reason="cut-body")


def half_answer(server: SimulatedServer, request: bytes) -> Written:
    server.take(request)
    raise MalformedError("log entry answer: not JSON")


def drain(store: Store, server: SimulatedServer, **options: Any) -> DrainReport:
    """Run a drain in the simulated server's time, with a jitter of half."""
    clock = server.clock
    log = require_log(store, server.log.origin)
    return Drain(
        store,
        Server(log, server, server.log),
        read_queue_settings(store),
        Pace(clock.moment, lambda: clock.now, clock.sleep, lambda: 0.5),
        **{"threads": 4, **options},
    ).run()
