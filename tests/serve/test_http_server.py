"""The server around the application: addresses, deadlines, and how it ends."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from http.client import HTTPConnection

import pytest

from appliance.errors import ConfigError
from appliance.serve import http_server
from appliance.serve.answers import Answer, Later, Outcome
from appliance.serve.http_server import HttpServer
from appliance.serve.requests import Request

_slow_began = threading.Event()
_LARGE = bytes(20_000_000)


def _echo(request: Request) -> Outcome:
    body = request.read(1000)
    if request.path == "/slow":
        _slow_began.set()
        time.sleep(0.3)
    if request.path == "/later":
        _slow_began.set()
        coming: Future[bytes] = Future()
        threading.Timer(0.3, coming.set_result, [body]).start()
        return Later(coming, lambda done: Answer(200, done.result(0)), 20)
    if request.path == "/never":
        return Later(Future(), lambda done: Answer(200, b"done" if done.done() else b"late"), 0.3)
    if request.path == "/bug-later":
        done: Future[bytes] = Future()
        done.set_exception(RuntimeError("a bug"))
        return Later(done, lambda done: Answer(200, done.result(0)), 20)
    if request.path == "/large":
        return Answer(200, _LARGE)
    if request.path == "/bug":
        raise RuntimeError("a bug")
    return Answer(200, body)


@contextlib.contextmanager
def _running(host: str = "127.0.0.1", *quick_methods: str) -> Iterator[HttpServer]:
    server = HttpServer(_echo, host, 0, 1000, quick_methods=quick_methods)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
        server.close()


def _is_closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.4)
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.8)
    monkeypatch.setattr(http_server, "_CLEANUP_SECONDS", 0.1)
    monkeypatch.setattr(http_server, "_LOOP_SECONDS", 0.1)


@pytest.mark.usefixtures("hurried")
def test_an_idle_connection_is_closed() -> None:
    with _running() as server, socket.create_connection((server.host, server.port)) as idle:
        assert _is_closed_within(idle, 5)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("start", [b"", b"POST / HTTP/1.1\r\nContent-Length: 900\r\n\r\n"])
def test_a_request_that_drips_in_is_cut_off(start: bytes) -> None:
    with _running() as server, socket.create_connection((server.host, server.port)) as slow:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            slow.sendall(start or b"POST / HTTP/1.1\r\nX: ")
            while time.monotonic() - began < 5:
                slow.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - began < 5


@pytest.mark.usefixtures("hurried")
def test_a_request_in_work_is_not_slow() -> None:
    with _running() as server:
        connection = HTTPConnection(server.host, server.port, timeout=5)
        for _ in range(4):  # together longer than one request may take to arrive
            connection.request("POST", "/slow", b"still here")
            assert connection.getresponse().read() == b"still here"
        connection.close()


@pytest.mark.parametrize("path", ["/slow", "/later"])
@pytest.mark.parametrize("quick", [(), ("POST",)])
def test_stopping_answers_what_is_in_work(path: str, quick: tuple[str, ...]) -> None:
    with _running("127.0.0.1", *quick) as server:
        connection = HTTPConnection(server.host, server.port, timeout=30)
        _slow_began.clear()
        connection.request("POST", path, b"last")
        assert _slow_began.wait(30)
        server.stop()
        assert connection.getresponse().read() == b"last"
        connection.close()


@pytest.mark.parametrize("quick", [(), ("POST",)])
def test_answers_to_come_are_waited_for_without_a_thread(quick: tuple[str, ...]) -> None:
    with _running("127.0.0.1", *quick) as server:
        began, connections = time.monotonic(), []
        for number in range(4 * http_server.THREADS):
            connections.append(HTTPConnection(server.host, server.port, timeout=30))
            connections[-1].request("POST", "/later", b"%d" % number)
        for number, connection in enumerate(connections):
            assert connection.getresponse().read() == b"%d" % number
            connection.close()
        assert threading.active_count() < 2 * http_server.THREADS + 20  # the timers are the test's
        assert time.monotonic() - began < 20


def test_requests_that_follow_each_other_at_once_are_answered_in_order() -> None:
    with (
        _running("127.0.0.1", "POST") as server,
        socket.create_connection((server.host, server.port), timeout=20) as client,
    ):
        head = "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n%s\r\n"
        client.sendall(
            (head % ("/later", "") + "1" + head % ("/", "Connection: close\r\n")).encode()
        )
        client.sendall(b"2")
        answers = b""
        while piece := client.recv(4096):
            answers += piece
    bodies = [answer.rpartition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [b"1", b"2"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_clients_that_read_nothing_hold_up_nobody(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "THREADS", 2)
    asked = b"%s /large HTTP/1.1\r\n\r\n" % method.encode() * 4
    with contextlib.ExitStack() as deaf, _running("127.0.0.1", "POST") as server:
        for _ in range(3):
            one = deaf.enter_context(socket.create_connection((server.host, server.port)))
            one.sendall(asked)
        for other in ("GET", "POST"):
            connection = HTTPConnection(server.host, server.port, timeout=20)
            connection.request(other, "/", b"heard")
            assert connection.getresponse().read() == b"heard"
            connection.close()


def test_who_reads_late_is_answered_all_of_it() -> None:
    asked = b"GET /large HTTP/1.1\r\n\r\n" * 2 + b"POST /x HTTP/1.0\r\n\r\n"
    with (
        _running("127.0.0.1", "POST") as server,
        socket.create_connection((server.host, server.port), 20) as late,
    ):
        late.sendall(asked)
        time.sleep(0.3)
        n_bytes, last = 0, b""
        while data := late.recv(1_000_000):
            n_bytes, last = n_bytes + len(data), (last + data)[-1000:]
    assert n_bytes > 40_000_000
    assert b"HTTP/1.0 200 OK" in last


@pytest.mark.usefixtures("hurried")
def test_an_answer_that_is_not_read_is_given_up() -> None:
    asked = b"GET /large HTTP/1.1\r\n\r\n" * 4
    with _running() as server, socket.create_connection((server.host, server.port), 20) as deaf:
        deaf.sendall(asked)
        time.sleep(2)
        n_bytes = 0
        with contextlib.suppress(ConnectionResetError):
            while data := deaf.recv(1_000_000):
                n_bytes += len(data)
    assert n_bytes < 40_000_000


def test_an_answer_that_does_not_come_in_time_is_made_without_it() -> None:
    with _running("127.0.0.1", "POST") as server:
        connection = HTTPConnection(server.host, server.port, timeout=20)
        connection.request("POST", "/never")
        assert connection.getresponse().read() == b"late"
        connection.close()


@pytest.mark.parametrize("path", ["/bug", "/bug-later"])
@pytest.mark.parametrize("quick", [(), ("GET",)])
def test_a_bug_is_answered_without_its_traceback(path: str, quick: tuple[str, ...]) -> None:
    with _running("127.0.0.1", *quick) as server:
        connection = HTTPConnection(server.host, server.port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    assert (answer.status, b"Traceback" in body, b'"code": 13' in body) == (500, False, True)


def test_an_address_that_is_taken_is_a_configuration_error() -> None:
    with _running() as server, pytest.raises(ConfigError) as refused:
        HttpServer(_echo, server.host, server.port, 1000)
    assert refused.value.reason == "bind"


@pytest.mark.parametrize("host", ["999.1.1.1", "nowhere.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_a_configuration_error(host: str) -> None:
    with pytest.raises(ConfigError) as refused:
        HttpServer(_echo, host, 0, 1000)
    assert refused.value.reason == "bind"


def test_an_ipv6_address_is_spelled_with_brackets() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    with _running("::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        connection = HTTPConnection("::1", server.port, timeout=5)
        connection.request("POST", "/", b"hello")
        assert connection.getresponse().read() == b"hello"
        connection.close()
