"""Connections that wait for an answer are put back to work, whichever thread brings it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from appliance.serve.answers import Answer, Later
from appliance.serve.work import Work


class Connection:
    """Counts how often it is put to work."""

    def __init__(self) -> None:
        self.served = 0

    def service(self) -> None:
        self.served += 1


def waiting(coming: Future[Any], seconds: float = 20.0) -> Later:
    return Later(coming, lambda _: Answer(200, b""), seconds)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_answers_that_come_in_another_thread_do_not_end_the_loop() -> None:
    work, connections = Work(lambda: None), [Connection() for _ in range(9000)]

    def answer(mine: list[Connection]) -> None:
        for start in range(0, len(mine), 64):
            batch = [(one, Future[Any]()) for one in mine[start : start + 64]]
            for connection, coming in batch:
                work.wait_for(connection, waiting(coming))
            for _, coming in batch:
                coming.set_result(None)

    # As the sequencers of several logs do.
    threads = [threading.Thread(target=answer, args=[connections[n::3]]) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            work.run()
    finally:
        for thread in threads:
            thread.join()
    work.run()

    assert {one.served for one in connections} == {1}


def test_who_waits_too_long_is_put_to_work_once_and_the_younger_wait_on() -> None:
    work, late, young = Work(lambda: None), Connection(), Connection()
    coming = Future[Any]()
    work.wait_for(late, waiting(coming, seconds=0.0))
    work.wait_for(young, waiting(Future[Any]()))
    time.sleep(0.001)

    work.run()
    coming.set_result(None)
    work.run()

    assert (late.served, young.served) == (1, 0)


def test_an_answered_one_does_not_hide_the_older_ones_behind_it() -> None:
    work, first, second = Work(lambda: None), Connection(), Connection()
    coming = Future[Any]()
    work.wait_for(first, waiting(coming))
    work.wait_for(second, waiting(Future[Any](), seconds=0.0))
    coming.set_result(None)
    time.sleep(0.001)

    work.run()

    assert (first.served, second.served) == (1, 1)
