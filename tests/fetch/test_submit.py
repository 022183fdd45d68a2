"""Posting to a log: what was taken, what it had, what it will never take, what to repeat."""

from __future__ import annotations

import json

import pytest

from appliance.errors import ConfigError, LimitError, MalformedError, RefusedError, RemoteError
from appliance.fetch.http import HttpClient
from appliance.fetch.submit import Duplicate, Logged, submit
from appliance.rekor.transparency_log_entry import MAX_ANSWER_BYTES
from tests.fetch.conftest import OpenClient
from tests.fetch.hostile_server import HostileServer, Reply, close, ok, raw, reset, stall, status

PATH = "/api/v2/log/entries"
REQUEST = b'{"hashedRekordRequestV002": {"digest":"AA=="}}\n'
KNOWN = "an equivalent entry already exists in the transparency log with index"


def error(message: object, code: int = 3) -> bytes:
    return json.dumps({"code": code, "message": message, "details": []}).encode()


@pytest.mark.parametrize("code", [200, 201])
def test_a_logged_entry_comes_back_byte_for_byte(
    server: HostileServer, client: HttpClient, code: int
) -> None:
    url = server.on(PATH, status(code, b'{"logIndex": "7"}', "Content-Type: application/json"))
    answer = submit(client, server.url, REQUEST)
    assert isinstance(answer, Logged)
    assert answer.entry == b'{"logIndex": "7"}'
    assert (answer.facts.url, answer.facts.status) == (url, code)
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("POST", PATH, REQUEST)
    assert request.headers["content-type"] == "application/json"


def test_the_write_url_may_have_a_path(server: HostileServer, client: HttpClient) -> None:
    server.on(f"/rekor{PATH}", status(201, b"{}"))
    assert isinstance(submit(client, f"{server.url}rekor", REQUEST), Logged)
    with pytest.raises(ConfigError):
        submit(client, "log.example", REQUEST)


@pytest.mark.parametrize(
    ("body", "headers", "index"),
    [
        (error(f"{KNOWN} 12", 6), ["X-Log-Index: 12"], 12),
        (b"", ["X-Log-Index: 0"], 0),
        (error(f"{KNOWN} 12", 6), [], 12),
        (error(f"{KNOWN} 0", 6), [], 0),
        (f"{KNOWN} 5".encode(), [], 5),
    ],
)
def test_a_duplicate_comes_with_its_index(
    server: HostileServer, client: HttpClient, body: bytes, headers: list[str], index: int
) -> None:
    server.on(PATH, status(409, body, *headers))
    answer = submit(client, server.url, REQUEST)
    assert isinstance(answer, Duplicate)
    assert (answer.index, answer.facts.status) == (index, 409)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", []),
        (error("conflict"), []),
        (error(None), []),
        (error(f"{KNOWN} 007"), []),
        (error(f"{KNOWN} -1"), []),
        (error(f"{KNOWN} 1 or so"), []),
        (error(f"{KNOWN} {'9' * 19}"), []),
        (b"[" * 1000, []),
        (b"\xff", []),
        (b"[]", []),
        (error(f"{KNOWN} 12"), ["X-Log-Index: twelve"]),
        (error(f"{KNOWN} 12"), ["X-Log-Index: 1", "X-Log-Index: 2"]),
    ],
)
def test_a_duplicate_without_an_index_is_no_answer(
    server: HostileServer, client: HttpClient, body: bytes, headers: list[str]
) -> None:
    server.on(PATH, status(409, body, *headers))
    with pytest.raises(MalformedError) as caught:
        submit(client, server.url, REQUEST)
    assert caught.value.reason == "duplicate-without-index"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (400, "invalid-request"),
        (401, "forbidden"),
        (403, "forbidden"),
        (404, "no-such-endpoint"),
        (405, "frozen"),
        (410, "no-such-endpoint"),
    ],
)
def test_what_will_never_be_taken_is_refused(
    server: HostileServer, client: HttpClient, code: int, reason: str
) -> None:
    answer = error("invalid hashedrekord request")
    server.on(PATH, status(code, answer, "Content-Type: application/json"))
    with pytest.raises(RefusedError) as caught:
        submit(client, server.url, REQUEST)
    assert caught.value.reason == reason
    assert caught.value.next_step
    if reason == "invalid-request":
        assert "'invalid hashedrekord request'" in caught.value.message


def test_a_refusal_is_quoted_in_part_and_made_printable(
    server: HostileServer, client: HttpClient
) -> None:
    said = error("\x1b[2J\u202e" + "x" * 50_000)
    for kind in ("application/json", "text/html"):
        server.on(PATH, status(400, said, f"Content-Type: {kind}"))
        with pytest.raises((RefusedError, RemoteError)) as caught:
            submit(client, server.url, REQUEST)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (400, b"<html>Sign in to the guest network</html>", "text/html"),
        (400, error("invalid"), "text/html"),
        (400, error("invalid"), ""),
        (400, b"", "application/json"),
        (400, b"[]", "application/json"),
        (400, b'{"error": "blocked by policy"}', "application/json"),
        (400, b'{"code": 400, "message": "blocked"}', "application/json"),
        (400, error("invalid", 5), "application/json"),
        (400, error(None), "application/json"),
        (413, error("too large"), "application/json"),
        (422, error("unprocessable"), "application/json"),
        (451, b"{}", "application/json"),
    ],
)
def test_a_no_that_is_not_the_logs_own_says_nothing_about_the_request(
    server: HostileServer, client: HttpClient, code: int, body: bytes, kind: str
) -> None:
    server.on(PATH, status(code, body, *([f"Content-Type: {kind}"] if kind else [])))
    with pytest.raises(RemoteError) as caught:
        submit(client, server.url, REQUEST)
    assert (caught.value.reason, caught.value.nothing_sent) == ("foreign-answer", True)
    assert str(code) in caught.value.message


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (301, "redirect"),
        (202, "http-status"),
        (408, "unavailable"),
        (425, "http-status"),
        (429, "rate-limited"),
        (499, "http-status"),
        (500, "unavailable"),
        (501, "http-status"),
        (502, "unavailable"),
        (503, "unavailable"),
    ],
)
def test_what_may_be_taken_later_is_not_refused(
    server: HostileServer, client: HttpClient, code: int, reason: str
) -> None:
    server.on(PATH, status(code, error("reached max pushback; retry", 14), "Retry-After: 9"))
    with pytest.raises(RemoteError) as caught:
        submit(client, server.url, REQUEST)
    assert caught.value.reason == reason
    assert caught.value.retry_after == (9.0 if reason in ("unavailable", "rate-limited") else None)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (reset(), "unreachable"),
        (close(status(201, b"{}")[:-1]), "cut-body"),
        (close(b"junk\r\n"), "bad-response"),
    ],
)
def test_an_answer_that_does_not_arrive_is_asked_for_once(
    server: HostileServer, open_client: OpenClient, trouble: Reply, reason: str
) -> None:
    server.on(PATH, trouble)
    with pytest.raises(RemoteError) as caught:
        submit(open_client(attempts=4), server.url, REQUEST)
    assert caught.value.reason == reason
    assert len(server.requests) == 1


def test_a_log_may_take_longer_than_a_tile_server(
    server: HostileServer, open_client: OpenClient
) -> None:
    server.on(PATH, stall())
    with pytest.raises(RemoteError) as caught:
        submit(open_client(request_seconds=0.1, run_seconds=0.5), server.url, REQUEST)
    assert caught.value.reason == "run-timeout"


def test_an_answer_is_bounded_and_plain(server: HostileServer, client: HttpClient) -> None:
    head = raw("HTTP/1.1 201 Created", f"Content-Length: {MAX_ANSWER_BYTES + 1}")
    server.on(PATH, close(head), ok(b"", "Content-Encoding: gzip"))
    with pytest.raises(LimitError):
        submit(client, server.url, REQUEST)
    with pytest.raises(MalformedError):
        submit(client, server.url, REQUEST)
