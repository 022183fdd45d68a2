"""Rate, pauses and the end of a run, on a clock of our own."""

from __future__ import annotations

import threading

import pytest

from appliance.errors import RemoteError
from appliance.fetch.pacing import BACKOFF, NAP_SECONDS, RunPace, retry_after_seconds

NEVER = threading.Event()


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.longest_nap = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.longest_nap = max(self.longest_nap, seconds)


def pace(time: Time, run_seconds: float = 100.0, rate: float | None = None) -> RunPace:
    return RunPace(time.clock, time.sleep, run_seconds, rate)


def test_without_a_rate_every_turn_is_now() -> None:
    time = Time()
    unlimited = pace(time)
    for _ in range(1000):
        unlimited.take_turn(NEVER)
    assert time.now == 1000.0


def test_turns_are_spaced_by_the_rate() -> None:
    time = Time()
    four_a_second = pace(time, rate=4)
    turns = []
    for _ in range(5):
        four_a_second.take_turn(NEVER)
        turns.append(time.now)
    assert turns == [1000.0, 1000.25, 1000.5, 1000.75, 1001.0]


def test_turns_that_were_not_taken_do_not_add_up_to_a_burst() -> None:
    time = Time()
    one_a_second = pace(time, rate=1)
    time.sleep(50)
    for _ in range(3):
        one_a_second.take_turn(NEVER)
    assert time.now == 1052.0


def test_a_turn_after_the_end_of_the_run_is_refused_at_once() -> None:
    time = Time()
    slow = pace(time, run_seconds=5, rate=0.1)
    slow.take_turn(NEVER)
    with pytest.raises(RemoteError, match=r"could be sent in 10\.0 s") as caught:
        slow.take_turn(NEVER)
    assert caught.value.reason == "run-timeout"
    assert time.now == 1000.0


def test_a_pause_is_slept_in_naps() -> None:
    time = Time()
    pace(time).pause(10.1, NEVER)
    assert time.now == pytest.approx(1010.1)
    assert time.longest_nap == NAP_SECONDS


def test_a_pause_ends_once_nobody_wants_the_request() -> None:
    time, stopped = Time(), threading.Event()

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        stopped.set()

    with pytest.raises(RemoteError) as caught:
        RunPace(time.clock, sleep, 100.0, None).pause(50.0, stopped)
    assert caught.value.reason == "stopped"
    assert time.now == 1000.0 + NAP_SECONDS


def test_backoff_doubles_up_to_a_ceiling() -> None:
    assert [BACKOFF.pause(n, 1.0) for n in (1, 2, 3, 6, 7, 8, 1000)] == [0.5, 1, 2, 16, 30, 30, 30]


DATE = {"date": "Sun, 06 Nov 1994 08:49:37 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after": "86401"}, 86400.0),
        ({"retry-after": "9" * 5000}, 86400.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": "\N{FULLWIDTH DIGIT ONE}"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT", **DATE}, 30.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:07 GMT", **DATE}, 0.0),
        ({"retry-after": "Wed, 01 Jan 2031 00:00:00 GMT", **DATE}, 86400.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT"}, None),  # measured from what?
        ({"retry-after": "Sun, 06 Nov 1994 08:50:07 +0100", **DATE}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:07 -0000", **DATE}, None),
        ({"retry-after": "Sunday, 06-Nov-94 08:50:07 GMT", **DATE}, None),
        ({"retry-after": "Mon, 06 Nov 1994 08:50:07 GMT", **DATE}, None),
        ({"retry-after": "Sun, 31 Feb 1994 08:50:07 GMT", **DATE}, None),
        ({"retry-after": "Sun, 06 Nov 99999999999 08:50:07 GMT", **DATE}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds
