"""Connections that wait for an answer, while other threads bring them."""

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


class _Counted:
    """A connection that counts how often it is put to work."""

    def __init__(self) -> None:
        self.times = 0

    def service(self) -> None:
        self.times += 1


@pytest.fixture(autouse=True)
def _hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_answers_come_while_the_loop_looks_who_waits() -> None:
    work, channel = Work(lambda: None), _Counted()
    coming: list[Future[Any]] = []
    is_over = threading.Event()

    def bring() -> None:
        while not is_over.is_set() or coming:
            if coming:
                coming.pop().set_result(None)
            else:
                time.sleep(0.0005)

    thread = threading.Thread(target=bring)
    thread.start()
    n_waited = 0
    try:
        ends_at = time.monotonic() + 1.5
        while time.monotonic() < ends_at:
            for _ in range(20):
                n_waited += 1
                one: Future[Any] = Future()
                work.wait_for(channel, Later(one, lambda _: Answer(200, b""), 30))
                coming.append(one)
            for _ in range(200):
                work.run()
    finally:
        is_over.set()
        thread.join()
    work.run()
    assert channel.times == n_waited
