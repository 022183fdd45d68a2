"""HTTP that always ends: every way a server can fail, stall, flood or cheat."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance import __version__
from appliance.config.keys import Key
from appliance.config.schema import SETTINGS
from appliance.errors import (
    ApplianceError,
    ConfigError,
    InflationError,
    LimitError,
    MalformedError,
    RemoteError,
)
from appliance.fetch.http import MAX_CONNECTIONS, HttpClient, HttpSettings, url_prefix
from appliance.fetch.response import MAX_ERROR_BYTES
from tests.fetch.conftest import OpenClient
from tests.fetch.hostile_server import (
    HostileServer,
    Reply,
    chunked,
    close,
    drip,
    flood,
    ok,
    raw,
    reset,
    stall,
    status,
    wait_for,
)


def failure(client: HttpClient, url: str, max_bytes: int = 1000) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        client.get(url, max_bytes)
    assert url in caught.value.message
    return caught.value


def test_the_configuration_takes_as_many_connections_as_the_client() -> None:
    setting = SETTINGS["http.connections"]
    assert isinstance(setting, Key)
    kind = setting.kind
    assert kind.read(MAX_CONNECTIONS) == MAX_CONNECTIONS
    HttpSettings(connections=MAX_CONNECTIONS)
    for too_many in (0, MAX_CONNECTIONS + 1):
        with pytest.raises(ConfigError):
            kind.read(too_many)
        with pytest.raises(ConfigError):
            HttpSettings(connections=too_many)


# What a good server gets and gives.


def test_a_body_comes_with_the_facts_of_its_response(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/note", ok(b"note", "ETag: one", "X-A:  1 ", "X-A: 2"))
    response = client.get(url, 4)
    assert (response.status, response.body) == (200, b"note")
    facts = response.facts
    assert (facts.url, facts.status, facts.certificate) == (url, 200, None)
    assert facts.peer == f"127.0.0.1 port {server.port}"
    assert facts.headers == (("Content-Length", "4"), ("ETag", "one"), ("X-A", "1"), ("X-A", "2"))
    assert facts.lower_headers["x-a"] == "1, 2"


def test_a_request_says_who_we_are_and_asks_for_plain_bytes(
    server: HostileServer, open_client: OpenClient
) -> None:
    url = server.on("/note", ok(b"note"))
    open_client(contact="ops@example.org").get(url, 4)
    open_client().get(url, 4, gzip_allowed=True)
    first, second = (request.headers for request in server.requests)
    assert first["user-agent"] == f"attestor/{__version__} (+ops@example.org)"
    assert first["accept-encoding"] == "identity"
    assert second["user-agent"] == f"attestor/{__version__}"
    assert second["accept-encoding"] == "gzip, identity"
    assert not {"cookie", "authorization", "accept"} & {*first, *second}


def test_chunks_are_put_together(server: HostileServer, client: HttpClient) -> None:
    url = server.on("/note", chunked(b"no", b"te", end=b"0\r\nTrailer: x\r\n\r\n"))
    assert client.get(url, 4).body == b"note"
    assert client.get(url, 4).body == b"note"
    assert server.n_connections == 1


def test_an_empty_body_is_one(server: HostileServer, client: HttpClient) -> None:
    assert client.get(server.on("/nothing", ok(b"")), 0).body == b""


def test_one_connection_serves_many_requests_even_not_found_ones(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/note", ok(b"note"))
    for _ in range(5):
        assert client.get(url, 4).body == b"note"
        failure(client, f"{server.url}absent")
    assert {request.connection for request in server.requests} == {0}


def test_a_server_that_closes_after_each_response_is_fine(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/note", close(ok(b"note", "Connection: close")))
    for _ in range(3):
        assert client.get(url, 4).body == b"note"
    assert server.n_connections == 3


def test_a_connection_that_was_closed_meanwhile_is_not_tried(
    server: HostileServer, open_client: OpenClient, naps: list[float]
) -> None:
    gone = threading.Event()

    def answer_and_go(_: HostileServer, sock: socket.socket) -> None:
        sock.sendall(ok(b"note"))  # which says nothing of what comes next
        sock.shutdown(socket.SHUT_RDWR)
        gone.set()

    client, url = open_client(), server.on("/note", answer_and_go)
    for _ in range(3):
        assert client.get(url, 4).body == b"note"
        assert gone.wait(20)
        gone.clear()
    assert (server.n_connections, naps) == (3, [])


def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again(
    server: HostileServer, client: HttpClient
) -> None:
    rest: list[bytes] = []
    ended = threading.Event()

    def answer_in_part(_: HostileServer, sock: socket.socket) -> None:
        head = raw("HTTP/1.1 404 Whatever", f"Content-Length: {2 * MAX_ERROR_BYTES}")
        sock.sendall(head + b"x" * (MAX_ERROR_BYTES + 1))  # as much of an error as is read
        rest.append(sock.recv(1))  # no second request, which would get the rest for an answer
        ended.set()

    note = server.on("/note", ok(b"note"))
    failure(client, server.on("/long", answer_in_part))
    assert client.get(note, 4).body == b"note"
    assert ended.wait(10)
    assert (server.n_connections, rest) == (2, [b""])


@pytest.mark.parametrize("whole", [ok(b"note"), chunked(b"no", b"te"), status(503)])
@pytest.mark.parametrize("behind", [b"\r", ok(b"another"), b"x" * 20_000])
def test_a_connection_on_which_more_came_than_the_answer_is_not_used_again(
    server: HostileServer, open_client: OpenClient, whole: bytes, behind: bytes
) -> None:
    client = open_client(attempts=1)
    url, note = server.on("/first", whole + behind), server.on("/note", ok(b"note"))
    with contextlib.suppress(RemoteError):  # of the 503
        assert client.get(url, 4).body == b"note"
    assert client.get(note, 4).body == b"note"
    assert server.n_connections == 2


@pytest.mark.parametrize("interim", ["103 Early Hints", "102 Processing", "199 Miscellaneous"])
def test_an_interim_response_is_passed_over(
    server: HostileServer, client: HttpClient, interim: str
) -> None:
    answer = raw("HTTP/1.1 200 OK", "Content-Length: 4", body=b"note")
    url = server.on("/note", close(raw(f"HTTP/1.1 {interim}", "Link: </x>") + answer))
    assert client.get(url, 4).body == b"note"


def test_a_protocol_that_nobody_asked_for_is_no_response(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/", close(raw("HTTP/1.1 101 Switching Protocols", "Upgrade: x")))
    assert failure(client, url).reason == "bad-response"


def test_a_body_without_a_length_ends_with_its_connection(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/note", close(raw("HTTP/1.1 200 OK", body=b"note")))
    assert client.get(url, 100).body == b"note"


def test_a_body_without_a_length_that_ends_in_a_reset_is_cut(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/note", reset(raw("HTTP/1.1 200 OK", body=b"note")))
    assert failure(client, url).reason == "cut-body"


def test_cookies_are_not_kept(server: HostileServer, client: HttpClient) -> None:
    url = server.on("/note", ok(b"", "Set-Cookie: a=b; Path=/"))
    client.get(url, 0)
    client.get(url, 0)
    assert "cookie" not in server.requests[1].headers


def test_proxies_and_passwords_in_the_environment_are_not_read(
    server: HostileServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert client.get(server.on("/note", ok(b"note")), 4).body == b"note"


# Time.


@pytest.mark.parametrize(
    "reply",
    [
        drip(ok(b"x" * 1000), 0.01),
        drip(ok(b"", *(f"X-{n}: {n}" for n in range(90))), 0.01),
        drip(raw("HTTP/1.1 100 Continue") * 100, 0.01),
        drip(chunked(*[b"x"] * 1000), 0.01),
        stall(),
        stall(b"HTTP/1.1 200 OK\r\n"),
        stall(ok(b"note")[:-1]),
        stall(chunked(b"note", end=b"")),
    ],
    ids=["body", "headers", "interim", "chunks", "nothing", "status", "last-byte", "last-chunk"],
)
def test_a_drip_is_cut_by_the_clock(
    server: HostileServer, open_client: OpenClient, reply: Reply
) -> None:
    client = open_client(request_seconds=0.4, attempts=1)
    before = time.monotonic()
    assert failure(client, server.on("/slow", reply), 5000).reason == "timeout"
    assert 0.4 <= time.monotonic() - before < 3.0


def test_a_server_that_never_accepts_is_cut_by_the_clock(open_client: OpenClient) -> None:
    client = open_client(request_seconds=0.3, attempts=1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        assert failure(client, url).reason == "timeout"


def test_a_server_that_reads_nothing_of_a_post_is_cut_by_the_clock(
    open_client: OpenClient,
) -> None:
    client = open_client()
    before = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(RemoteError) as caught:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        client.post(url, bytes(16 << 20), 10, content_type="a/b", seconds=0.4)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - before < 3.0


def test_the_run_ends_whatever_its_requests_may_take(
    server: HostileServer, open_client: OpenClient, naps: list[float]
) -> None:
    client = open_client(run_seconds=0.4)
    url = server.on("/slow", stall())
    assert failure(client, url).reason == "run-timeout"
    with pytest.raises(RemoteError, match="the run is over") as caught:
        client.get(url, 4)
    assert caught.value.reason == "run-timeout"
    assert (len(server.requests), naps) == (1, [])


def test_a_request_nobody_wants_any_more_ends_soon(
    server: HostileServer, client: HttpClient
) -> None:
    stopped = threading.Event()
    threading.Timer(0.1, stopped.set).start()
    before = time.monotonic()
    with pytest.raises(RemoteError) as caught:
        client.get(server.on("/slow", stall()), 4, stopped=stopped)
    assert caught.value.reason == "stopped"
    assert time.monotonic() - before < 3.0


# Bytes.


@pytest.mark.parametrize(
    "reply",
    [
        ok(b"x" * 1001),
        chunked(b"x" * 1001),
        close(raw("HTTP/1.1 200 OK", body=b"x" * 1001)),
        flood(raw("HTTP/1.1 200 OK"), b"x" * 10_000),
        flood(raw("HTTP/1.1 200 OK", f"Content-Length: {10**17}"), b"x" * 10_000),
        flood(chunked(b"x", end=b""), b"1" + b";" * 60_000 + b"\r\nx\r\n"),
        flood(chunked(b"x", end=b"0\r\n"), b"X: y\r\n" * 1000),
        flood(b"HTTP/1.1 200 OK\r\n", b"x" * 10_000),
        flood(b"", b"x" * 10_000),
        flood(b"", raw("HTTP/1.1 100 Continue", "X: y") * 100),
    ],
    ids=[
        "length",
        "chunks",
        "no-length",
        "endless",
        "announced",
        "chunk-extensions",
        "trailers",
        "one-header",
        "status-line",
        "interim",
    ],
)
def test_too_much_is_refused(server: HostileServer, client: HttpClient, reply: Reply) -> None:
    url = server.on("/much", reply)
    with pytest.raises(LimitError) as caught:
        client.get(url, 1000)
    assert url in caught.value.message


@pytest.mark.parametrize("reply", [ok(b"x" * 1000), chunked(b"x" * 500, b"x" * 500)])
def test_exactly_the_limit_is_accepted(
    server: HostileServer, client: HttpClient, reply: Reply
) -> None:
    assert len(client.get(server.on("/fits", reply), 1000).body) == 1000


def test_more_than_a_hundred_headers_are_refused(server: HostileServer, client: HttpClient) -> None:
    error = failure(client, server.on("/", ok(b"", *["X: y"] * 100)))
    assert (error.reason, "100 headers" in error.message) == ("bad-response", True)


# Cut bodies and strange framing.


@pytest.mark.parametrize(
    ("whole", "needed"),
    [
        (ok(b"x" * 9, "A: b"), 0),
        (chunked(b"x" * 9, b"y" * 3), 3),  # once the size 0 is there, the body is
        (chunked(b"x" * 9, b"y" * 3, end=b"0\r\nX: y\r\n\r\n"), 9),
    ],
    ids=["length", "chunks", "trailer"],
)
def test_a_response_cut_anywhere_is_none(
    server: HostileServer, client: HttpClient, whole: bytes, needed: int
) -> None:
    for n_bytes in range(len(whole) - needed - 1):
        error = failure(client, server.on(f"/{n_bytes}", close(whole[:n_bytes])))
        assert error.reason in ("cut-body", "unreachable", "bad-response"), n_bytes


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 3"],
        ["Content-Length: 5"],
        ["Content-Length: 4", "Content-Length: 3"],
        ["Content-Length: 4", "Content-Length: 4"],
        ["Content-Length: 4, 4"],
        ["Content-Length: +4"],
        ["Content-Length: 0_4"],
        ["Content-Length: -1"],
        ["Content-Length: 0x4"],
        ["Content-Length: "],
        ["Content-Length: " + "4" * 5000],
        ["Content-Length: 4", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: identity"],
    ],
    ids=lambda headers: " + ".join(headers)[:60],
)
def test_a_length_that_is_not_the_one_length_of_the_body(
    server: HostileServer, client: HttpClient, headers: list[str]
) -> None:
    url = server.on("/note", close(raw("HTTP/1.1 200 OK", *headers, body=b"note")))
    if headers == ["Content-Length: 3"]:  # what follows is the next response, or nothing
        assert client.get(url, 100).body == b"not"
    else:
        assert failure(client, url).reason in ("bad-response", "cut-body")


@pytest.mark.parametrize(
    "body",
    [
        *(b"-5\r\nx" * 9, b"+4\r\nnote\r\n", b"0x4\r\nnote\r\n", b"0_4\r\nnote\r\n"),
        *(b"x\r\n", b"\r\n", b" 4\r\nnote\r\n", b"4 4\r\nnote", b"4\r\r\nnote\r\n"),
        *(b"4\r\nnoteX\r\n0\r\n\r\n", b"4\r\nnote\n0\r\n\r\n", b"4\r\nnoteXY0\r\n\r\n"),
        *(b"4;" + b"x" * 70_000 + b"\r\nnote\r\n", b"4;a\rb\r\nnote\r\n0\r\n\r\n"),
    ],
)
def test_chunks_that_are_none(server: HostileServer, client: HttpClient, body: bytes) -> None:
    url = server.on("/", close(raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=body)))
    error = failure(client, url)
    assert (error.reason, "a chunk of the body" in error.message) == ("bad-response", True)


@pytest.mark.parametrize(
    "body",
    [
        *(b"4\r\nnote\r\n0\r\n\r\n", b"4 \t\r\nnote\r\n0\r\n\r\n", b"04\nnote\r\n0\n\n"),
        *(b'4;a="b" ;c\r\nnote\r\n0;d\r\n\r\n', b"1\r\nn\r\n03\r\note\r\n000\r\n\r\n"),
        b"4\r\nnote\r\n0\r\nA: b\r\n\r\n",
    ],
)
def test_chunks_with_what_nobody_asked_for(
    server: HostileServer, client: HttpClient, body: bytes
) -> None:
    url = server.on("/", raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=body))
    for _ in range(2):
        assert client.get(url, 4).body == b"note"
    assert server.n_connections == 1


@pytest.mark.parametrize("code", [204, 304])
def test_a_status_that_has_no_body_waits_for_none(
    server: HostileServer, client: HttpClient, code: int
) -> None:
    url = server.on("/", raw(f"HTTP/1.1 {code} Whatever", "Content-Length: 5"))
    for _ in range(2):
        failure(client, url)
    assert server.n_connections == 1


def test_white_space_before_a_colon_hides_no_header(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/", raw("HTTP/1.1 200 OK", "Transfer-Encoding : chunked", "Content-Length: 4"))
    error = failure(client, url)
    assert (error.reason, "is no header" in error.message) == ("bad-response", True)


def test_a_server_of_http_1_0_closes_unless_it_says_otherwise(
    server: HostileServer, client: HttpClient
) -> None:
    kept = raw("HTTP/1.0 200 OK", "Content-Length: 4", "Connection: keep-alive", body=b"note")
    url = server.on("/", kept, kept, kept.replace(b"Connection", b"X-Nothing"), kept)
    for expected in (1, 1, 1, 2):
        assert client.get(url, 4).body == b"note"
        assert server.n_connections == expected


def test_a_second_response_in_the_same_packet_answers_nothing(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/one", ok(b"one") + ok(b"injected"))
    assert client.get(url, 10).body == b"one"
    assert client.get(server.on("/two", ok(b"two")), 10).body == b"two"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/2 200 OK\r\n\r\n",
    ],
)
def test_garbage_is_no_response(server: HostileServer, client: HttpClient, garbage: bytes) -> None:
    assert failure(client, server.on("/", close(garbage))).reason in ("bad-response", "unreachable")


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK\r\n",
                b"HTTP/1.1 404 \r\n",
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"Content-Length: 4\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Content-Encoding: gzip\r\n",
                b"Connection: close\r\n",
                b"Retry-After: 5\r\n",
                b"\r\n",
                b"4\r\nnote\r\n",
                b"0\r\n\r\n",
                b"\n",
                b": ",
                b" ",
                b"note",
                gzip.compress(b"note", mtime=0),
            ]
        )
        | st.binary(max_size=8),
        max_size=12,
    ).map(b"".join)
)
def test_any_bytes_are_a_response_or_one_of_our_errors(
    server: HostileServer, client: HttpClient, answer: bytes
) -> None:
    url = server.on("/", close(answer))
    try:
        response = client.get(url, 100, gzip_allowed=True)
    except (RemoteError, MalformedError, LimitError):
        return
    assert response.status == 200
    assert len(response.body) <= 100


# Encodings.


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "deflate", "zstd", "x", ""])
def test_an_encoding_nobody_asked_for_is_refused(
    server: HostileServer, client: HttpClient, encoding: str
) -> None:
    url = server.on("/", ok(gzip.compress(b"tile", mtime=0), f"Content-Encoding: {encoding}"))
    with pytest.raises(MalformedError) as caught:
        client.get(url, 1000)
    assert caught.value.reason == "content-encoding"


def test_identity_is_no_encoding(server: HostileServer, client: HttpClient) -> None:
    url = server.on("/", ok(b"note", "Content-Encoding: identity"))
    assert client.get(url, 4).body == b"note"


def test_gzip_that_was_asked_for_is_decoded(server: HostileServer, client: HttpClient) -> None:
    body = gzip.compress(b"entries", mtime=0)
    url = server.on("/", ok(body, "Content-Encoding: gzip"), ok(b"entries"))
    assert client.get(url, 1000, gzip_allowed=True).body == b"entries"
    assert client.get(url, 1000, gzip_allowed=True).body == b"entries"


BOMB = gzip.compress(bytes(64 << 20), compresslevel=9, mtime=0)  # 64 KiB to 64 MiB


@pytest.mark.parametrize(
    ("body", "encodings", "error"),
    [
        (gzip.compress(b"x" * 1001, mtime=0), ["gzip"], InflationError),
        (BOMB, ["gzip"], InflationError),
        (gzip.compress(b"entries", mtime=0)[:-1], ["gzip"], MalformedError),
        (gzip.compress(b"entries", mtime=0)[:12], ["gzip"], MalformedError),
        (b"", ["gzip"], MalformedError),
        (gzip.compress(b"entries", mtime=0) + b"\0", ["gzip"], MalformedError),
        (gzip.compress(b"entries", mtime=0) * 2, ["gzip"], MalformedError),
        (b"entries", ["gzip"], MalformedError),
        (zlib.compress(b"entries"), ["gzip"], MalformedError),
        (gzip.compress(b"entries", mtime=0)[:-8] + bytes(8), ["gzip"], MalformedError),
        (
            gzip.compress(gzip.compress(b"entries", mtime=0), mtime=0),
            ["gzip, gzip"],
            MalformedError,
        ),
        (
            gzip.compress(gzip.compress(b"entries", mtime=0), mtime=0),
            ["gzip", "gzip"],
            MalformedError,
        ),
        (b"entries", ["identity", "gzip"], MalformedError),
    ],
)
def test_gzip_oddities(
    server: HostileServer,
    client: HttpClient,
    body: bytes,
    encodings: list[str],
    error: type[ApplianceError],
) -> None:
    headers = [f"Content-Encoding: {encoding}" for encoding in encodings]
    url = server.on("/", ok(body, *headers))
    with pytest.raises(error) as caught:
        client.get(url, 100_000 if body is BOMB else 1000, gzip_allowed=True)
    assert url in caught.value.message


def test_a_bomb_is_never_unpacked(server: HostileServer, client: HttpClient) -> None:
    import tracemalloc

    url = server.on("/", ok(BOMB, "Content-Encoding: gzip"))
    client.get(server.on("/first", ok(b"")), 0)  # what is imported and pooled once
    tracemalloc.start()
    try:
        with pytest.raises(InflationError, match="decodes to more"):
            client.get(url, 1 << 20, gzip_allowed=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


# Statuses and retries.


@pytest.mark.parametrize("code", [301, 302, 303, 304, 307, 308])
def test_a_redirect_is_an_error_that_names_its_target(
    server: HostileServer, open_client: OpenClient, code: int
) -> None:
    target = server.on("/elsewhere", ok(b"other"))
    url = server.on("/note", status(code, b"", f"Location: {target}"))
    error = failure(open_client(), url)
    assert (error.reason, target in error.message) == ("redirect", True)
    assert server.targets == ["/note"]


def test_the_endless_body_of_a_redirect_is_not_read(
    server: HostileServer, client: HttpClient
) -> None:
    head = raw("HTTP/1.1 302 Found", "Location: http://evil.example/\x1b[2J")
    error = failure(client, server.on("/", flood(head, b"x" * 10_000)))
    assert (error.reason, "\x1b" in error.message) == ("redirect", False)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (400, b"<center>No required SSL certificate was sent</center>"),
        (403, b'{"code": 7, "message": "this log takes a client certificate that it knows"}'),
    ],
)
def test_whoever_wants_a_client_certificate_is_understood(
    server: HostileServer, client: HttpClient, code: int, body: bytes
) -> None:
    error = failure(client, server.on("/", status(code, body)))
    assert (error.reason, "http.clientCertificateFile" in error.next_step) == ("tls", True)


@pytest.mark.parametrize(
    ("code", "reason", "attempts"),
    [
        (201, "http-status", 1),
        (204, "http-status", 1),
        (206, "http-status", 1),
        (400, "http-status", 1),
        (403, "http-status", 1),
        (404, "not-found", 1),
        (408, "unavailable", 3),
        (429, "rate-limited", 3),
        (500, "unavailable", 3),
        (501, "http-status", 1),
        (502, "unavailable", 3),
        (503, "unavailable", 3),
        (505, "http-status", 1),
    ],
)
def test_what_a_status_means_and_whether_it_is_tried_again(
    server: HostileServer, open_client: OpenClient, code: int, reason: str, attempts: int
) -> None:
    url = server.on("/", status(code))
    assert failure(open_client(attempts=3), url).reason == reason
    assert len(server.requests) == attempts


@pytest.mark.parametrize(
    "trouble",
    [
        status(503),
        status(429),
        reset(),
        reset(ok(b"note")[:-1]),
        close(b""),
        close(ok(b"note")[:-1]),
    ],
    ids=["503", "429", "reset", "reset-body", "closed", "cut"],
)
def test_passing_trouble_is_overcome(
    server: HostileServer, open_client: OpenClient, naps: list[float], trouble: Reply
) -> None:
    url = server.on("/note", trouble, trouble, ok(b"note"))
    assert open_client().get(url, 4).body == b"note"
    assert sum(naps) == pytest.approx(0.5 + 1.0)


def test_a_stall_is_overcome(server: HostileServer, open_client: OpenClient) -> None:
    url = server.on("/note", stall(), ok(b"note"))
    assert open_client(request_seconds=0.3).get(url, 4).body == b"note"


def test_attempts_are_bounded(
    server: HostileServer, open_client: OpenClient, naps: list[float]
) -> None:
    failure(open_client(), server.on("/", reset()))
    assert len(server.requests) == 4
    assert sum(naps) == pytest.approx(0.5 + 1.0 + 2.0)


def test_a_refused_connection_is_tried_again(open_client: OpenClient, naps: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert failure(open_client(attempts=2), f"http://127.0.0.1:{port}/").reason == "unreachable"
    assert sum(naps) == 0.5


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(
    server: HostileServer, open_client: OpenClient, naps: list[float], code: int
) -> None:
    now, later = (f"Sun, 06 Nov 1994 08:49:{second} GMT" for second in ("37", "57"))
    url = server.on(
        "/note",
        status(code, b"", "Retry-After: 7"),
        status(code, b"", f"Retry-After: {later}", f"Date: {now}"),
        ok(b"note"),
    )
    assert open_client(run_seconds=1000).get(url, 4).body == b"note"
    assert sum(naps) == pytest.approx(7 + 20)


@pytest.mark.parametrize(
    ("asked", "run_seconds", "reported"),
    [("61", 1000, 61.0), ("15", 10, 15.0), ("9999999", 10, 86400)],
)
def test_a_server_that_asks_for_more_time_than_there_is_gets_it_in_another_run(
    server: HostileServer,
    open_client: OpenClient,
    naps: list[float],
    asked: str,
    run_seconds: float,
    reported: float,
) -> None:
    url = server.on("/", status(503, b"", f"Retry-After: {asked}"))
    assert failure(open_client(run_seconds=run_seconds), url).retry_after == reported
    assert (len(server.requests), naps) == (1, [])


@pytest.mark.parametrize("error", [MalformedError, LimitError])
def test_what_is_wrong_for_good_is_not_asked_for_again(
    server: HostileServer, open_client: OpenClient, error: type[ApplianceError]
) -> None:
    url = server.on("/", ok(b"x" * 20, *["Content-Encoding: gzip"] * (error is MalformedError)))
    with pytest.raises(error):
        open_client().get(url, 10)
    assert len(server.requests) == 1


def test_requests_are_spaced_by_the_rate_over_all_threads(
    server: HostileServer, open_client: OpenClient, naps: list[float]
) -> None:
    client = open_client(max_requests_per_second=20)
    url = server.on("/note", ok(b"note"))
    workers = [threading.Thread(target=client.get, args=(url, 4)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    # The n-th waits n/20 s from the first; none of the naps here takes any time.
    assert sum(naps) == pytest.approx(sum(range(8)) / 20, abs=0.35)


# POST.


def test_a_post_is_sent_once_and_answered_whatever_the_status(
    server: HostileServer, client: HttpClient
) -> None:
    for code in (201, 302, 404, 409, 503):
        url = server.on("/add", status(code, b"answer"))
        response = client.post(url, b'{"a":1}', 100, content_type="application/json", seconds=5)
        assert (response.status, response.body) == (code, b"answer")
    assert len(server.requests) == 5
    request = server.requests[0]
    assert (request.method, request.body) == ("POST", b'{"a":1}')
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"


def test_a_large_post_arrives_whole_on_a_used_connection(
    server: HostileServer, client: HttpClient
) -> None:
    url = server.on("/add", ok(b""))
    body = bytes(range(256)) * (4 << 12)  # 4 MiB
    for _ in range(2):
        client.post(url, body, 0, content_type="a/b", seconds=5)
    assert [request.body == body for request in server.requests] == [True, True]
    assert server.n_connections == 1


def test_of_an_error_only_the_beginning_is_kept(server: HostileServer, client: HttpClient) -> None:
    url = server.on("/", flood(raw("HTTP/1.1 400 Bad"), b"x" * 10_000))
    response = client.post(url, b"", 1 << 20, content_type="a/b", seconds=5)
    assert (response.status, len(response.body)) == (400, 64 << 10)


# Settings.


@pytest.mark.parametrize(
    "make",
    [
        lambda: HttpSettings(connections=0),
        lambda: HttpSettings(connections=33),
        lambda: HttpSettings(max_requests_per_second=0),
        lambda: HttpSettings(max_requests_per_second=-1),
        lambda: HttpSettings(max_requests_per_second=float("nan")),
        lambda: HttpSettings(max_requests_per_second=float("inf")),
        lambda: HttpSettings(contact="a\r\nHost: b"),
        lambda: HttpSettings(contact="\N{SNOWMAN}"),
    ],
)
def test_settings_check_themselves(make: Callable[[], HttpSettings]) -> None:
    with pytest.raises(ConfigError, match=r"http\."):
        make()


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("https://log.example", "https://log.example/"),
        ("https://log.example/", "https://log.example/"),
        ("https://log.example/api/v2//", "https://log.example/api/v2/"),
        ("http://127.0.0.1:3000/x", "http://127.0.0.1:3000/x/"),
        ("http://[::1]:3000", "http://[::1]:3000/"),
    ],
)
def test_a_url_becomes_a_prefix(text: str, prefix: str) -> None:
    assert url_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log.example",
        "//log.example/",
        "ftp://log.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://me@log.example/",
        "https://me:secret@log.example/",
        "https://log.example/?a",
        "https://log.example/#a",
        "https://log.example:0/",
        "https://log.example:65536/",
        "https://log.example:x/",
        "https://log.example/a b",
        "https://log.example/\n",
        "https://log.example\\@evil.example/",
        "https://[::1/",
        "https://l\N{LATIN SMALL LETTER O WITH DIAERESIS}g.example/",
        f"https://{'a' * 64}.example/",
        "https://a..b/",
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a URL"):
        url_prefix(text)


def test_a_client_closes_its_connections(server: HostileServer) -> None:
    with HttpClient(HttpSettings()) as client:
        client.get(server.on("/note", ok(b"note")), 4)


def test_parallel_requests_use_a_connection_each(
    server: HostileServer, open_client: OpenClient
) -> None:
    client, go = open_client(connections=4), threading.Event()
    url = server.on("/note", wait_for(go, ok(b"note", "Connection: close")))
    workers = [threading.Thread(target=client.get, args=(url, 4)) for _ in range(4)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 5
    while server.now_open < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    go.set()
    for worker in workers:
        worker.join()
    assert server.most_open == 4
