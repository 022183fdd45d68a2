"""The queue before the sequencer: what waits is answered, whatever goes wrong."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import LockedError, RestoredError, StoreError
from appliance.jobs.private_log.sequence import MAX_BATCH, Sequenced
from appliance.serve import batches as batches_module
from appliance.serve.answers import Later
from appliance.serve.batches import Batches
from appliance.serve.private_log import ENTRIES_PATH, HEALTH_PATH, PrivateLogService
from appliance.serve.requests import Request
from appliance.store.failures import is_passing
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from tests.jobs.faults import Faults, injected
from tests.private_log.private_homes import (
    check_home,
    home_in_memory,
    log_bodies,
    make_home,
    writing,
)
from tests.serve.signed_requests import signed_request


@pytest.fixture
def home() -> Iterator[Path]:
    with home_in_memory() as directory:
        make_home(directory)
        yield directory


@contextmanager
def batches_of(
    sequence: Callable[[Sequence[bytes]], Sequenced],
    on_failure: Callable[[Exception], bool] = is_passing,
) -> Iterator[Batches]:
    batches = Batches(sequence, on_failure=on_failure)
    batches.start()
    try:
        yield batches
    finally:
        batches.close()


def service_of(home: Path, batches: Batches) -> PrivateLogService:
    @contextmanager
    def reading() -> Iterator[Mirror]:
        with writing(home) as store:
            yield Mirror(store, require_private_log(store, None).log)

    return PrivateLogService(batches, reading)


def ask(service: PrivateLogService, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Ask it as a server would."""
    request = Request(method, path, lambda _: "", io.BytesIO(body).read, "127.0.0.1")
    outcome = service.routes.answer(request)
    if isinstance(outcome, Later):
        wait([outcome.coming], outcome.seconds)
        outcome = outcome.take()
    return outcome.status, json.loads(outcome.body)


def test_bodies_that_wait_together_are_logged_together(home: Path) -> None:
    sizes = []
    go_on = threading.Event()

    def sequence(bodies: Sequence[bytes]) -> Sequenced:
        sizes.append(len(bodies))
        go_on.wait(10)
        return log_bodies(home, bodies)

    bodies = [b"body %d" % number for number in range(MAX_BATCH + 20)]
    with batches_of(sequence) as batches:
        coming = [batches.add(body) for body in bodies]
        go_on.set()
        indices = [one.result(20).placed.entry_index for one in coming]
    assert indices == list(range(len(bodies)))
    assert max(sizes) <= MAX_BATCH
    assert len(sizes) < 20
    assert sorted(check_home(home)) == sorted(bodies)


def test_closing_logs_what_waits_and_takes_no_more(home: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    def sequence(bodies: Sequence[bytes]) -> Sequenced:
        began.set()
        go_on.wait(10)
        return log_bodies(home, bodies)

    with batches_of(sequence) as batches, ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: batches.add(b"first").result(20))
        began.wait(10)
        second = pool.submit(lambda: batches.add(b"second").result(20))
        closing = threading.Thread(target=batches.close)
        while not second.running():
            pass
        closing.start()
        go_on.set()
        closing.join()
        assert first.result().placed.entry_index == 0
        try:
            assert second.result().placed.entry_index == 1
        except StoreError as error:  # it came too late
            assert error.reason == "closing"
        with pytest.raises(StoreError) as refused:
            batches.add(b"third")
        assert refused.value.reason == "closing"


def test_a_full_disk_is_answered_503_and_nothing_is_lost_when_it_has_room_again(
    home: Path,
) -> None:
    request = signed_request(b"on a full disk")
    with injected(Faults()) as counted:
        log_bodies(home, [b"first"])
    for fail_at in range(1, len(counted.calls)):  # the commit is SQLite's, and fails otherwise
        body = signed_request(b"%d" % fail_at)
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with batches_of(lambda bodies: log_bodies(home, bodies)) as batches:
            service = service_of(home, batches)
            with injected(Faults(fail_at, error=full)):
                status, answer = ask(service, "POST", ENTRIES_PATH, body)
            assert (status, answer["code"]) == (503, 14)
            assert str(home) not in answer["message"]
            assert ask(service, "GET", HEALTH_PATH) == (200, {"status": "SERVING"})
            status, answer = ask(service, "POST", ENTRIES_PATH, body)
            assert status in (201, 409)  # what was signed before the disk was full is finished
    assert ask(service, "POST", ENTRIES_PATH, request)[0] == 503  # closed
    assert len(check_home(home)) == len(counted.calls)


@pytest.mark.parametrize(
    ("failure", "passes", "status"),
    [
        (LockedError("another run"), True, 503),
        (StoreError("it is broken"), False, 503),
        (RestoredError("restored"), False, 500),
        (RuntimeError("a bug"), False, None),
    ],
)
def test_a_failure_that_does_not_pass_ends_the_logging(
    home: Path, failure: Exception, passes: bool, status: int | None
) -> None:
    failures = [failure]

    def sequence(bodies: Sequence[bytes]) -> Sequenced:
        if failures:
            raise failures.pop()
        return log_bodies(home, bodies)

    with batches_of(sequence) as batches:
        service = service_of(home, batches)
        request = signed_request(b"again")
        if status is None:
            with pytest.raises(RuntimeError):
                ask(service, "POST", ENTRIES_PATH, request)
        else:
            assert ask(service, "POST", ENTRIES_PATH, request)[0] == status
        expected = (201, 200) if passes else (503, 503)
        again, _ = ask(service, "POST", ENTRIES_PATH, request)
        health, _ = ask(service, "GET", HEALTH_PATH)
        assert (again, health) == expected
    assert batches.failure is (None if passes else failure)


def test_more_than_may_wait_are_asked_to_come_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "MAX_WAITING", 0)
    with batches_of(lambda bodies: log_bodies(home, bodies)) as batches:
        status, answer = ask(
            service_of(home, batches), "POST", ENTRIES_PATH, signed_request(b"one too many")
        )
    assert status == 503
    assert answer == {"code": 14, "message": "reached max pushback; retry", "details": []}


def test_a_client_that_waits_too_long_is_told_so_and_may_find_it_logged(home: Path) -> None:
    go_on = threading.Event()

    def sequence(bodies: Sequence[bytes]) -> Sequenced:
        go_on.wait(10)
        return log_bodies(home, bodies)

    with batches_of(sequence) as batches:
        with pytest.raises(TimeoutError):
            batches.add(b"slow").result(0.05)
        go_on.set()
        assert batches.add(b"slow").result(10).placed.duplicate
