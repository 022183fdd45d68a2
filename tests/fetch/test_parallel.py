"""Many at once: all of them arrive, few are in memory, nothing is left behind."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from appliance.errors import RemoteError
from appliance.fetch.parallel import FIRST_FEW, SWITCH_SECONDS, fetch_all


def as_bytes(number: int, stopped: threading.Event) -> bytes:
    return b"%d" % number


def fetch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fetch")]


@pytest.mark.parametrize("count", [0, 1, 2, 500])
@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (4, 4), (4, 8)])
def test_every_wanted_thing_arrives_once(count: int, threads: int, ahead: int) -> None:
    got = dict(fetch_all(range(count), as_bytes, threads=threads, ahead=ahead))
    assert got == {number: b"%d" % number for number in range(count)}
    assert fetch_threads() == []


def test_no_more_is_asked_for_than_the_caller_has_room_for() -> None:
    taken = 0

    def wanted() -> Iterator[int]:
        nonlocal taken
        for number in range(100_000):
            taken += 1
            yield number

    answers = fetch_all(wanted(), as_bytes, threads=2, ahead=5)
    for received in range(1, 51):
        next(answers)
        assert taken <= received + 4
    answers.close()  # type: ignore[attr-defined]
    assert taken <= 55


@pytest.mark.parametrize(("size", "room"), [(1000, 3), (2000, 1), (9000, 1), (10, 8)])
def test_large_ones_are_fewer_at_a_time(size: int, room: int) -> None:
    taken = 0

    def wanted() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    answers = fetch_all(wanted(), lambda _, __: bytes(size), threads=8, ahead=8, max_bytes=3000)
    next(answers)
    assert taken == FIRST_FEW  # nobody knew by then
    for received in range(2, 101):
        next(answers)
        assert taken <= max(FIRST_FEW, received - 1 + room)
    assert list(answers) == []


def test_they_come_as_they_are_ready() -> None:
    slow = threading.Event()

    def fetch(number: int, stopped: threading.Event) -> bytes:
        if number == 0:
            assert slow.wait(5)
        return b""

    answers = fetch_all(range(10), fetch, threads=2, ahead=10)
    assert {next(answers)[0] for _ in range(9)} == set(range(1, 10))
    slow.set()
    assert next(answers)[0] == 0


def test_the_first_failure_ends_it_and_stops_the_others() -> None:
    started: list[int] = []

    def fetch(number: int, stopped: threading.Event) -> bytes:
        started.append(number)
        if number == 3:
            raise RemoteError("three", reason="unreachable")
        assert number < 3 or stopped.wait(5), "was not stopped"
        return b""

    before = time.monotonic()
    with pytest.raises(RemoteError, match="three"):
        list(fetch_all(range(1000), fetch, threads=4, ahead=8))
    assert time.monotonic() - before < 2
    assert max(started) < 3 + 8
    assert fetch_threads() == []


def test_after_a_failure_nothing_is_begun_that_waited_for_a_thread() -> None:
    started: list[int] = []

    def fetch(number: int, stopped: threading.Event) -> bytes:
        started.append(number)
        if number == 0:
            raise RemoteError("zero", reason="unreachable")
        stopped.wait(5)
        return b""

    with pytest.raises(RemoteError, match="zero"):
        list(fetch_all(range(1000), fetch, threads=1, ahead=8))
    assert started in ([0], [0, 1])  # the thread may have gone on before anybody knew


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ValueError])
def test_however_the_caller_leaves_no_thread_remains(error: type[BaseException]) -> None:
    def fetch(number: int, stopped: threading.Event) -> bytes:
        assert number == 0 or stopped.wait(5), "was not stopped"
        return b""

    answers = fetch_all(range(1000), fetch, threads=4, ahead=8)
    next(answers)
    with pytest.raises(error):
        answers.throw(error)  # type: ignore[attr-defined]
    assert fetch_threads() == []


def test_nothing_starts_before_the_first_is_asked_for() -> None:
    answers = fetch_all(range(10), as_bytes, threads=2, ahead=2)
    assert fetch_threads() == []
    answers.close()  # type: ignore[attr-defined]


def test_of_two_that_fetch_at_once_the_last_one_puts_back_how_threads_are_switched() -> None:
    usual = sys.getswitchinterval()
    first = fetch_all([1, 2], lambda _, __: b"x", threads=1, ahead=1)
    second = fetch_all([1, 2], lambda _, __: b"x", threads=1, ahead=1)
    next(first)
    next(second)
    list(first)
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    list(second)
    assert sys.getswitchinterval() == pytest.approx(usual)
