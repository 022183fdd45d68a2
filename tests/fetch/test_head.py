"""Heads of responses: what is one, what is none, and that http.client reads no other in it."""

from __future__ import annotations

import random
import re
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Any

import pytest

from appliance.fetch.head import MAX_HEADERS, Head, NotHttpError, read_head

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def read(data: bytes) -> Head:
    return read_head(BytesIO(data).readline)


def is_head(data: bytes) -> bool:
    try:
        read(data)
    except (NotHttpError, ConnectionError):
        return False
    return True


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"".join(line + b"\r\n" for line in (status, *lines, b""))


def test_a_head_is_its_status_and_its_headers() -> None:
    got = read(head(b"B: 1", b"Content-Length:4", b"a:  x y\t ", b"b: 2", b"Empty:") + b"note")
    assert (got.minor_version, got.status, got.reason) == (1, 200, "OK")
    assert got.headers == (
        *(("B", "1"), ("b", "2"), ("Content-Length", "4")),
        *(("a", "x y"), ("Empty", "")),
    )
    assert got.values == {"b": "1, 2", "content-length": "4", "a": "x y", "empty": ""}


def test_only_the_head_is_read() -> None:
    file = BytesIO(head(b"Content-Length: 4") + b"note")
    read_head(file.readline)
    assert file.read() == b"note"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", (1, 200, "OK")),
        (b"HTTP/1.0 404 Not Found", (0, 404, "Not Found")),
        (b"HTTP/1.1 204", (1, 204, "")),
        (b"HTTP/1.1 204 ", (1, 204, "")),
        (b"HTTP/1.9 999 \xe9t\xe9", (9, 999, "\xe9t\xe9")),
        (b"HTTP/1.1\t 200 \t a  b ", (1, 200, "a  b")),
    ],
)
def test_a_status_line(line: bytes, expected: tuple[int, int, str]) -> None:
    assert read(head(status=line))[:3] == expected


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b" ", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 OK", b"HTTP/1.1 20", b"HTTP/1.1 2000"),
        *(b"HTTP/1.1 +20 x", b"HTTP/1.1 099 x", b"HTTP/1.1 2 0 x", b" HTTP/1.1 200 OK"),
        *(b"HTTP/0.9 200 OK", b"HTTP/2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/1.10 200 OK"),
        *(b"http/1.1 200 OK", b"HTTP/1. 200 OK", b"HTTP/1 200 OK", b"HTTP/x.1 200 OK"),
        *(b"HTTP/1.1 200OK", b"HTTP/1.1 200\x0bOK", b"HTTP/1.1 200\xa0OK", b"HTTP/1.1\x1c200 OK"),
        *(b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 OK\r", b"\r"),
        *(b"HTTP/1.1 \xb2\xb9\xb9 OK", b"HTTP/1.\xb9 200 OK"),  # digits only to str.isdigit
    ],
)
def test_no_status_line(line: bytes) -> None:
    with pytest.raises(NotHttpError):
        read(head(b"A: b", status=line))


def test_a_name_is_a_token_whatever_the_byte() -> None:
    for byte in range(256):
        for line in (b"%c: x", b"a%c: x", b"%ca: x", b"a%cb: x"):
            text = line % byte
            if byte == ord("\n"):  # an end of a line, a line that continues none, or an end
                continue
            expected = byte in TOKEN or (byte == ord(":") and not text.startswith(b":"))
            assert is_head(head(text)) is expected, text


def test_a_value_is_anything_in_one_line_whatever_the_byte() -> None:
    for byte in range(256):
        for line in (b"a:%c", b"a: x%c", b"a: %cx", b"a: x%cy", b"a: x\r\n %c", b"a:\r\n\tx%cy"):
            if byte == ord("\n"):
                continue
            assert is_head(head(line % byte)) is (byte not in b"\r\0"), line % byte


@pytest.mark.parametrize(
    "line", [b"a", b": x", b"a b: x", b"a : x", b"a\t: x", b" a: x", b"\ta: x", b"\0", b"GET / x"]
)
def test_no_header(line: bytes) -> None:
    """White space before a colon, say, hides a header from whoever reads names exactly."""
    for lines in ([line], [line, b"b: y"], [line, b"Content-Length: 4"]):
        with pytest.raises(NotHttpError):
            read(head(*lines))


def test_lines_may_end_without_a_carriage_return_but_not_with_two() -> None:
    whole = head(b"a: x", b"b: y")
    assert read(whole.replace(b"\r\n", b"\n")) == read(whole)
    assert not is_head(whole.replace(b"\r\n", b"\r\r\n"))
    assert not is_head(whole.replace(b"\r\n", b"\r"))
    for at in (at for at in range(len(whole)) if whole[at : at + 2] == b"\r\n"):
        assert is_head(whole[:at] + whole[at + 1 :])
        assert not is_head(whole[:at] + b"\r" + whole[at:])


def test_a_head_cut_anywhere_is_none() -> None:
    whole = head(b"a: x", b"b: y\r\n  z")
    for n_bytes in range(len(whole)):
        with pytest.raises(ConnectionError, match="closed it before it had answered"):
            read(whole[:n_bytes])


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ([b"a: x", b" y"], "x y"),
        ([b"a: x \t", b"\t  y  ", b" z "], "x y z"),
        ([b"a:", b" 4"], " 4"),  # which is no length
        ([b"a: 4", b" "], "4 "),
        ([b"a: chunked", b"\t"], "chunked "),
    ],
)
def test_a_header_that_goes_on_has_a_space_there(lines: list[bytes], value: str) -> None:
    assert read(head(b"b: 1", *lines, b"c: 2")).values == {"b": "1", "a": value, "c": "2"}


def test_a_first_header_continues_nothing() -> None:
    assert not is_head(head(b" a: x"))
    assert not is_head(head(b"\t"))
    assert not is_head(head(b" Content-Length: 4", status=b"HTTP/1.1 100 Continue"))


def test_a_head_has_so_many_lines() -> None:
    assert len(read(head(*[b"a: x"] * MAX_HEADERS)).headers) == MAX_HEADERS
    for lines in ([b"a: x"] * (MAX_HEADERS + 1), [b"a: x", *[b" y"] * MAX_HEADERS]):
        with pytest.raises(NotHttpError, match=f"more than {MAX_HEADERS} headers"):
            read(head(*lines))


def test_interim_heads_are_passed_over_and_read_as_strictly() -> None:
    interim = head(b"Link: </x>", b"Content-Length: 9", status=b"HTTP/1.1 103 Early Hints")
    got = read(head(status=b"HTTP/1.1 100 Continue") + interim * 3 + head(b"a: x"))
    assert (got.status, got.values) == (200, {"a": "x"})
    bad = head(b"Link : </x>", status=b"HTTP/1.1 103 Early Hints")
    assert not is_head(bad + head())
    with pytest.raises(NotHttpError, match="nobody asked for"):
        read(head(status=b"HTTP/1.1 101 Switching Protocols") + head())


@pytest.mark.parametrize(
    ("version", "lines", "expected"),
    [
        (b"1", [], True),
        (b"1", [b"Connection: keep-alive"], True),
        (b"1", [b"Connection: Close"], False),
        (b"1", [b"Connection: x", b"connection: y, close"], False),
        (b"1", [b"Transfer-Encoding: chunked"], True),
        (b"0", [], False),
        (b"0", [b"Connection: Keep-Alive"], True),
        (b"0", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"0", [b"Connection: keep-alive", b"Transfer-Encoding: chunked"], False),
    ],
)
def test_which_connection_is_used_again(version: bytes, lines: list[bytes], expected: bool) -> None:
    assert read(head(*lines, status=b"HTTP/1.%b 200 OK" % version)).keeps_connection is expected


@pytest.mark.parametrize(("status", "expected"), [(200, True), (204, False), (304, False)])
def test_what_has_a_body(status: int, expected: bool) -> None:
    assert read(head(status=b"HTTP/1.1 %d x" % status)).has_body is expected


# http.client, which has read the heads of the world for long.

PIECES = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 Not Found\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    *(b"HTTP/1.1 500\n", b"Content-Length: 4\r\n", b"content-length:4\n", b"X-A: 1\r\n"),
    *(b"x-a:\t2 \r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"),
    *(b"Connection: keep-alive\r\n", b" more\r\n", b"\t\r\n", b"Empty:\r\n", b"a", b"B", b"0"),
    *(b": ", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\0", b"\x0b", b"\x85", b"\xff", b","),
)


class Socket:
    """What http.client reads from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _: str) -> BytesIO:
        return BytesIO(self._data)


def as_http_client_reads(data: bytes) -> HTTPResponse | None:
    socket: Any = Socket(data)
    response = HTTPResponse(socket)
    try:
        response.begin()
    except (HTTPException, ValueError):
        return None
    return response


def unfolded(value: str) -> str:
    return re.sub(r"[ \t]*\r?\n[ \t]*", " ", value).strip(" \t")


def generated(maker: random.Random) -> bytes:
    made = b"HTTP/1.%d %d OK\r\n" % (maker.choice((0, 1)), maker.choice((200, 204, 404, 100)))
    if maker.random() < 0.1:
        made = b""
    made += b"".join(maker.choices(PIECES, k=maker.randrange(8))) + b"\r\n\r\n"
    if maker.random() < 0.3:
        at = maker.randrange(len(made))
        made = made[:at] + maker.choice(PIECES) + made[at + maker.randrange(2) :]
    return made


def test_what_both_take_for_a_head_both_read_alike() -> None:
    maker, n_both = random.Random(9112), 0  # noqa: S311 repeatable
    for _ in range(20_000):
        data = generated(maker)
        if not is_head(data):
            continue
        ours, theirs = read(data), as_http_client_reads(data)
        assert theirs is not None, data  # we take nothing that it does not
        n_both += 1
        assert (ours.status, ours.reason.strip()) == (theirs.status, theirs.reason), data
        pairs = [(name, value.strip(" ")) for name, value in ours.headers]
        theirs_unfolded = [(name, unfolded(value)) for name, value in theirs.headers.items()]
        assert sorted(pairs) == sorted(theirs_unfolded), data
        assert ours.has_body or theirs.length == 0
        if theirs.will_close and theirs.length is not None:
            assert not ours.keeps_connection, data
    assert n_both > 3_000
