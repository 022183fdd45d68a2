"""What is not HTTP, or not quite, and clients that never finish."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.private_log.private_homes import check_home, make_home
from tests.serve.running_log import RunningLog, running_log
from tests.serve.signed_requests import signed_request

POST = b"POST /api/v2/log/entries HTTP/1.1\r\nHost: x\r\n"
DRIPPERS = 100
IDLERS = 300


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("log") / "home"
    make_home(made)
    return made


@pytest.fixture(scope="module")
def log(home: Path) -> Iterator[RunningLog]:
    with running_log(home) as server:
        yield server


def _open(log: RunningLog) -> socket.socket:
    host, _, port = log.address.partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def _say(log: RunningLog, raw: bytes, *, end: bool = True) -> bytes:
    """Send raw bytes; return all that comes back until the server closes."""
    with _open(log) as connection:
        with contextlib.suppress(OSError):  # it may have heard enough
            connection.sendall(raw)
            if end:
                connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                answer += data
        return answer


@pytest.mark.parametrize(
    "raw",
    [
        POST + b"Content-Length: -1\r\n\r\n{}",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Content-Length: 1_0\r\n\r\n0123456789",
        POST + b"Content-Length: 0x2\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: 2, 2\r\n\r\n{}",
        POST + b"Content-Length: \xd9\xa2\r\n\r\n{}",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n",
        POST + b"Bad Header: 1\r\n\r\n",
        POST + b"X: " + b"a" * 40_000 + b"\r\n\r\n",
        POST + b"X: a\nY: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    ],
    ids=range(20),
)
def test_bad_framing_is_refused_and_the_connection_closed(log: RunningLog, raw: bytes) -> None:
    answer = _say(log, raw)
    status = answer.split(b" ", 2)[1:2]
    assert status in ([b"400"], [b"431"], [b"501"]), answer[:200]
    assert b"application/json" in answer
    assert b'"details": []' in answer


def test_requests_smuggled_behind_bad_framing_are_not_answered(log: RunningLog) -> None:
    inner = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for framing in (
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    ):
        assert b"SERVING" not in _say(log, POST + framing + inner)


def test_pipelined_requests_are_answered_in_order(log: RunningLog) -> None:
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    nowhere = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = _say(log, health * 3 + nowhere, end=False)
    assert answer.count(b"200 OK") == 3
    assert answer.index(b"404 Not Found") > answer.rindex(b"200 OK")


def test_a_chunked_request_is_read_like_any_other(log: RunningLog) -> None:
    body = signed_request(b"chunked")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (body[:100], body[100:]))
    framing = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = _say(log, POST + framing + chunks + b"0\r\n\r\n", end=False)
    assert answer.startswith(b"HTTP/1.1 201")


def test_a_cut_request_is_forgotten(log: RunningLog, home: Path) -> None:
    body = signed_request(b"cut")
    before = check_home(home)
    for length in (0, 1, len(body) // 2, len(body) - 1):
        said = _say(log, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:length])
        assert b" 201 " not in said
    assert check_home(home) == before


def test_a_body_far_too_large_is_refused_unread(log: RunningLog) -> None:
    answer = _say(log, POST + b"Content-Length: 1000000000\r\n\r\n", end=False)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"http: request body too large" in answer


def test_slow_and_idle_clients_do_not_keep_an_honest_one_waiting(log: RunningLog) -> None:
    stop = threading.Event()
    slow = [_open(log) for _ in range(DRIPPERS)]
    idle = [_open(log) for _ in range(IDLERS)]

    def drip() -> None:
        for one in slow:
            one.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        while not stop.wait(0.1):
            for one in slow:
                with contextlib.suppress(OSError):
                    one.sendall(b" ")

    dripper = threading.Thread(target=drip)
    dripper.start()
    try:
        took = []
        for number in range(20):
            began = time.monotonic()
            assert log.post(signed_request(b"honest %d" % number))[0] == 201
            took.append(time.monotonic() - began)
        assert sorted(took)[-2] < 1.0
    finally:
        stop.set()
        dripper.join()
        for one in [*slow, *idle]:
            one.close()
