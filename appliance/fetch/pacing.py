"""How a run spends its time: its end, its slices, its rate, its pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from re import fullmatch
from typing import Final

from appliance.errors import RemoteError
from appliance.policy.retry import SLICE_OVER, Backoff

BACKOFF: Final = Backoff(first=0.5, longest=30.0, fixed=1.0)  # between attempts of a request
MAX_PAUSE_SECONDS: Final = 60.0  # a server that asks for more is left alone in this run
MAX_RETRY_AFTER_SECONDS: Final = 86_400.0  # and none is left alone for longer than a day
NAP_SECONDS: Final = 0.25  # how soon a pause notices that nobody wants its request any more

_HTTP_DATE: Final = "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}(:[0-9]{2}){2} GMT"


class RunPace:
    """The time of one run, shared by its threads."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        run_seconds: float,
        max_requests_per_second: float | None,
    ) -> None:
        self.clock = clock  # monotonic seconds
        self._ends = clock() + run_seconds
        self._slice_ends = float("inf")  # guarded by _lock, as what it earns
        self._earned = 0.0  # seconds, by each response
        self._sleep = sleep
        self._interval = 1 / max_requests_per_second if max_requests_per_second else 0.0  # seconds
        self._next_turn = clock()  # guarded by _lock
        self._lock = threading.Lock()

    def begin_slice(self, seconds: float, earned: float) -> None:
        """End the slice in so many seconds, and `earned` later for each response that comes."""
        with self._lock:
            self._slice_ends, self._earned = self.clock() + seconds, earned

    def count_response(self) -> None:
        """Let the slice go on for what a response earns."""
        with self._lock:
            self._slice_ends += self._earned

    def seconds_left(self, what: str) -> float:
        """Return how long the run and its slice go on, as far as is known by now.

        Raises RemoteError about `what` if the run is over (`run-timeout`), or its slice
        (`slice-over`).
        """
        now = self.clock()
        if now >= self._ends:
            raise RemoteError(
                f"{what}: the time for this whole run is over",
                reason="run-timeout",
                next_step="run it again: it goes on where it stopped",
            )
        if now >= self._slice_ends:
            raise RemoteError(f"{what}: too slow while others wait", reason=SLICE_OVER)
        return min(self._ends, self._slice_ends) - now

    def take_turn(self, stopped: threading.Event) -> None:
        """Wait until the rate allows one more request; raises as pause does."""
        with self._lock:
            now = self.clock()
            turn = max(now, self._next_turn)
            self._next_turn = turn + self._interval
        self.pause(turn - now, stopped)

    def pause(self, seconds: float, stopped: threading.Event) -> None:
        """Sleep, in naps.

        Raises RemoteError at once if the run would be over by then (`run-timeout`), and
        within a nap if its slice is (`slice-over`) or `stopped` is set.
        """
        if not self.has(seconds):
            raise RemoteError(
                f"the next request could be sent in {seconds:.1f} s, but the run is over by then",
                reason="run-timeout",
                next_step="run it again: it goes on where it stopped",
            )
        while seconds > 0 and not stopped.is_set():
            self.seconds_left("the next request")
            self._sleep(min(seconds, NAP_SECONDS))
            seconds -= NAP_SECONDS
        if stopped.is_set():
            raise RemoteError("stopped before the request was sent", reason="stopped")

    def has(self, seconds: float) -> bool:
        """Tell whether the run goes on for longer than this."""
        return self.clock() + seconds < self._ends


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long a server asks us to wait, at most a day, or None if it does not say.

    Takes seconds or an HTTP date (RFC 9110, 10.2.3). A date is measured from the server's
    own Date: our clock may be wrong. `headers` has lower-case names.
    """
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_SECONDS)
    until, sent = _http_date(text), _http_date(headers.get("date", ""))
    if until is None or sent is None:
        return None
    return min(max((until - sent).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


def _http_date(text: str) -> datetime | None:
    if not fullmatch(_HTTP_DATE, text):  # Python's own parser takes much more, and overflows
        return None
    # Imported by who needs it: the package for mail takes longer than all that is fetched here.
    from email.utils import format_datetime, parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if format_datetime(date, usegmt=True) == text else None
