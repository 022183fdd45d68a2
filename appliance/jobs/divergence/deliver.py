"""Deliver alerts: claim what is due, send without the lock, record what came of it.

A sink that hangs costs a run no more than the sink's own timeout: the first failure of a
sink, or its time being up, leaves the rest of its deliveries for a later run. Nothing is
ever given up. What sends is handed in by sink name; the network is not imported here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO, Final

from appliance.errors import ApplianceError, ConfigError, RemoteError
from appliance.policy.retry import DELIVERY
from appliance.store.database import Store
from appliance.store.divergence.outbox import (
    Delivery,
    claim,
    record_delivered,
    record_failure,
    release,
)
from appliance.store.row_form import json_object, reading_row
from appliance.value import frozen

# Alerts to a program of the operator's: the payload on its standard input.


_MAX_TEXT: Final = 300  # characters of what it complained
_HEARD_BYTES: Final = 4096  # kept of it while it runs
_LAST_SECONDS: Final = 1.0  # for the pipes of what was killed to close


def run_hook(
    argv: Sequence[str], payload: bytes, *, environment: dict[str, str], seconds: float
) -> None:
    """Run a program with one alert on stdin; exit code 0 means that it was taken.

    It gets PATH and what `environment` adds, no more. It and everything it started is
    killed when the time is up. Raises RemoteError if it cannot run or says no.
    """
    import subprocess  # most runs have nothing to deliver

    kept = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    try:
        process = subprocess.Popen(  # noqa: S603 the operator's own configuration
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=kept | environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise RemoteError(f"{argv[0]}: {error.strerror}", reason="hook") from error
    ends = time.monotonic() + seconds
    complaint = bytearray()
    # Threads, because neither may hold up the other, and what it says has no end.
    talking = (
        threading.Thread(target=_tell, args=(process.stdin, payload), daemon=True),
        threading.Thread(target=_hear, args=(process.stderr, complaint), daemon=True),
    )
    try:
        for thread in talking:
            thread.start()
        process.wait(seconds)
        for thread in talking:
            thread.join(max(ends - time.monotonic(), 0))
        if any(thread.is_alive() for thread in talking):  # what it started goes on
            raise subprocess.TimeoutExpired(list(argv), seconds)
    except subprocess.TimeoutExpired as error:
        raise RemoteError(
            f"{argv[0]}: killed, it did not end within {seconds:g} s", reason="timeout"
        ) from error
    finally:
        if process.poll() is None or any(thread.is_alive() for thread in talking):
            _kill_group(process.pid)
        process.wait()
        for thread in talking:
            thread.join(_LAST_SECONDS)
    if process.returncode:
        said = complaint.decode("utf-8", "backslashreplace").strip()[-_MAX_TEXT:]
        raise RemoteError(
            f"{argv[0]}: exit code {process.returncode}" + (f": {said}" if said else ""),
            reason="hook",
        )


def _tell(pipe: IO[bytes] | None, payload: bytes) -> None:
    """Write all of `payload` to a program, which need not want it."""
    if pipe is not None:
        with contextlib.suppress(OSError), pipe:
            pipe.write(payload)


def _hear(pipe: IO[bytes] | None, heard: bytearray) -> None:
    """Read what a program says to its end, and keep the last of it."""
    if pipe is not None:
        with contextlib.suppress(OSError, ValueError), pipe:
            while piece := os.read(pipe.fileno(), _HEARD_BYTES):
                heard += piece
                del heard[:-_HEARD_BYTES]


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)  # it leads a session, so its group has its number
    except ProcessLookupError:
        return


CLAIM_SECONDS: Final = 60  # beyond a sink's timeout
MAX_ASKED_SECONDS: Final = 3600.0  # of a sink's Retry-After
MOST_PER_SINK: Final = 100  # in one run

Send = Callable[[Delivery], None]  # raises an ApplianceError if the sink did not take it
OpenStore = Callable[[], AbstractContextManager[Store]]


@frozen
class Sender:
    """How to reach one sink."""

    send: Send
    timeout: float  # seconds, for one delivery and for all of one run


@frozen
class Clocks:
    """What time it is, and chance."""

    now: Callable[[], int]  # Unix seconds
    monotonic: Callable[[], float]  # seconds
    draw: Callable[[], float]  # 0 to 1


@frozen
class Sent:
    """What became of one delivery."""

    delivery: Delivery
    error: str | None  # None: it arrived
    next_at: int | None  # Unix seconds; None: it arrived


def deliver(
    writing: OpenStore, senders: Mapping[str, Sender], clocks: Clocks, *, early: bool = False
) -> tuple[Sent, ...]:
    """Try what is due, or with `early` everything that waits; say what was tried.

    `writing` opens the store and holds its lock; it is held to claim and to record, never
    while something is sent. Raises what `writing` raises, LockedError included: then what was
    sent is sent again, under the same id, once the claim has run out.
    """
    if not senders:
        return ()
    now = clocks.now()
    longest = max(sender.timeout for sender in senders.values())
    with writing() as store:
        until = now + int(longest) + CLAIM_SECONDS
        claimed = claim(store, senders.keys(), now, until, early=early, limit=MOST_PER_SINK)
    if not claimed:
        return ()
    outcomes = list(_send_all(claimed, senders, clocks))
    # If we die before this, the other side gets the same id again: it knows it already.
    with writing() as store, store.atomic():
        for delivery, sent in outcomes:
            if sent is None:
                release(store, delivery)
            elif sent.error is None:
                record_delivered(store, delivery, clocks.now())
            else:
                record_failure(store, delivery, sent.error, sent.next_at or now)
    return tuple(sent for _, sent in outcomes if sent is not None)


def _send_all(
    claimed: tuple[Delivery, ...], senders: Mapping[str, Sender], clocks: Clocks
) -> Iterator[tuple[Delivery, Sent | None]]:
    """Send each, one sink after the other; None for what was not tried."""
    for sink in dict.fromkeys(one.sink for one in claimed):
        sender, began, failed = senders[sink], clocks.monotonic(), False
        for delivery in (one for one in claimed if one.sink == sink):
            if failed or clocks.monotonic() - began > sender.timeout:
                yield delivery, None
                continue
            sent = _send_one(delivery, sender, clocks)
            failed = sent.error is not None
            yield delivery, sent


def _send_one(delivery: Delivery, sender: Sender, clocks: Clocks) -> Sent:
    try:
        # No sink, whatever it takes, is handed what is no alert any more.
        with reading_row(f"alert {delivery.alert_number}"):
            json_object(delivery.payload)
        sender.send(delivery)
    except ApplianceError as error:
        asked = error.retry_after if isinstance(error, RemoteError) else None
        if asked is not None:  # a sink decides when it is asked again, not whether
            asked = min(asked, MAX_ASKED_SECONDS)
        again = DELIVERY.next_try(clocks.now(), delivery.attempts + 1, clocks.draw(), asked)
        said = error.message
        if isinstance(error, ConfigError) and error.next_step:  # waiting will not help
            said = f"{said}; {error.next_step}"
        return Sent(delivery, said, again)
    return Sent(delivery, None, None)
