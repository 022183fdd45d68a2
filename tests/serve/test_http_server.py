"""The server around the application: addresses, deadlines, and how it ends."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from appliance.errors import ConfigError
from appliance.serve import http_server
from appliance.serve.answers import Answer, respond
from appliance.serve.http_server import HttpServer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


_slow_began = threading.Event()


def _echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/slow":
        _slow_began.set()
        time.sleep(0.3)
    if environ["PATH_INFO"] == "/bug":
        raise RuntimeError("a bug")
    return respond(Answer(200, environ["wsgi.input"].read()), start_response, head=False)


@contextlib.contextmanager
def _running(host: str = "127.0.0.1") -> Iterator[HttpServer]:
    server = HttpServer(_echo, host, 0, 1000)
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


def test_stopping_answers_what_is_in_work() -> None:
    with _running() as server:
        connection = HTTPConnection(server.host, server.port, timeout=30)
        _slow_began.clear()
        connection.request("POST", "/slow", b"last")
        assert _slow_began.wait(30)
        server.stop()
        assert connection.getresponse().read() == b"last"
        connection.close()


def test_a_bug_is_answered_without_its_traceback() -> None:
    with _running() as server:
        connection = HTTPConnection(server.host, server.port, timeout=5)
        connection.request("GET", "/bug")
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
