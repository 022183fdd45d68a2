"""Which thread does the work of a connection, and which connections wait for an answer.

What only computes is done in the loop's own thread, as it comes: handing it to another would
cost more than it does, and threads would fight for the interpreter. What reads the store or
waits for others is done in threads. An answer that is still to come costs neither: its
connection is put back to work when it is there, or when its time is over.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from appliance.serve.answers import Later

MAX_QUICK_BYTES: Final = 64 * 1024  # of a body; a larger one takes others' time to read
_STOP_POLL_SECONDS: Final = 0.005


class Work:
    """Puts connections to work; `pull_trigger` makes the loop's poll return."""

    def __init__(self, pull_trigger: Callable[[], None]) -> None:
        self._pull_trigger = pull_trigger
        self._quick: deque[Any] = deque()
        self._loop_thread = threading.get_ident()
        self._is_woken = False
        # By insertion the oldest is first. Taken out by whoever puts the connection back to work.
        self._awaited: dict[Later, tuple[Any, float]] = {}
        self._awaited_lock = threading.Lock()  # what others take out is not looked through

    def add(self, channel: Any) -> None:
        """Have `channel.service` called in the loop's thread, soon. Any thread may call this."""
        self._quick.append(channel)
        if threading.get_ident() != self._loop_thread and not self._is_woken:
            self._is_woken = True
            self._pull_trigger()

    def wake(self) -> None:
        """Have the loop look at its connections again; in its own thread it does so anyway."""
        if threading.get_ident() != self._loop_thread:
            self._pull_trigger()

    def run(self) -> None:
        """Do what was added, in the loop's thread."""
        self._loop_thread = threading.get_ident()
        self._is_woken = False  # before it is looked at: what comes now wakes again
        while (oldest := self._oldest()) is not None:
            later, (channel, ends_at) = oldest
            if ends_at > time.monotonic():
                break
            self._resume(later, channel)
        while self._quick:
            channel = self._quick.popleft()
            try:
                channel.service()
            except Exception:
                channel.logger.exception("Exception when servicing %r", channel)

    def wait_for(self, channel: Any, later: Later) -> None:
        """Put a connection back to work when its answer is there, or has not come in time."""
        with self._awaited_lock:
            self._awaited[later] = channel, time.monotonic() + later.seconds
        later.coming.add_done_callback(lambda _: self._resume(later, channel))

    def finish(self, seconds: float) -> None:
        """Answer what is in work, for so long; the loop has ended."""
        ends_at = time.monotonic() + seconds
        self.run()
        while self._awaited and time.monotonic() < ends_at:
            time.sleep(_STOP_POLL_SECONDS)
            self.run()

    def _oldest(self) -> tuple[Later, tuple[Any, float]] | None:
        with self._awaited_lock:
            return next(iter(self._awaited.items()), None)

    def _resume(self, later: Later, channel: Any) -> None:
        with self._awaited_lock:
            found = self._awaited.pop(later, None)
        if found is not None:  # else another thread was first
            self.add(channel)
