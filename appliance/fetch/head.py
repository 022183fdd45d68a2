"""The head of an HTTP response: its status line and its headers (RFC 9112).

Whoever reads a head otherwise than the next reader can be shown another body. So what the
standard lets a reader guess is refused: names that are no tokens, white space before a colon,
a carriage return or a zero byte inside a line, a first header that continues none.
Not http.client, which takes all of these and has a head read by the package for mail: a third
of what fetching a tile took.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from appliance.patterns import pattern

MAX_HEADERS: Final = 100  # lines; those that continue a header count too
_SWITCHING_PROTOCOLS: Final = 101
_WITHOUT_BODY: Final = (204, 304)

_STATUS: Final = pattern(r"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t]+([^\r\0]*))?")
_HEADER: Final = pattern(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\0]*)")
_CONTINUED: Final = pattern(r"[ \t]+([^\r\0]*)")


class NotHttpError(Exception):
    """What came is no response."""


class Head(NamedTuple):
    """A status line and headers."""

    minor_version: int  # of HTTP 1
    status: int  # 200 to 999
    reason: str
    headers: tuple[tuple[str, str], ...]  # as sent; repeated ones stand together
    values: Mapping[str, str]  # by lower-case name, those of repeated ones joined

    @property
    def has_body(self) -> bool:
        """Whether anything follows, whatever the headers say of it (RFC 9112, 6.3)."""
        return self.status not in _WITHOUT_BODY

    @property
    def keeps_connection(self) -> bool:
        """Whether another request may follow on the connection, once the body was read."""
        connection = self.values.get("connection", "").lower()
        if "close" in connection or self.minor_version:
            return "close" not in connection
        # Chunks that an HTTP/1.0 server sends may be what it was sent itself (RFC 9112, 6.1).
        return "keep-alive" in connection and "transfer-encoding" not in self.values


def read_head(readline: Callable[[], bytes]) -> Head:
    """Read the head of a response, passing over interim ones (RFC 9110, 15.2).

    Raises NotHttpError for what is no head, ConnectionError for a line that does not end.
    """
    while True:
        minor_version, status, reason = _read_status(readline)
        if status == _SWITCHING_PROTOCOLS:
            raise NotHttpError("status 101, which nobody asked for")
        found = _read_headers(readline)
        if status >= 200:
            break
    by_name: dict[str, list[tuple[str, str]]] = {}
    for header in found:
        by_name.setdefault(header[0].lower(), []).append(header)
    return Head(
        minor_version,
        status,
        reason,
        tuple([header for headers in by_name.values() for header in headers]),
        {name: ", ".join([value for _, value in headers]) for name, headers in by_name.items()},
    )


def _read_status(readline: Callable[[], bytes]) -> tuple[int, int, str]:
    line = _read_line(readline)
    match = _STATUS.fullmatch(line)
    if match is None:
        raise NotHttpError(f"{line[:60]!r} is no status line")
    return int(match[1]), int(match[2]), (match[3] or "").rstrip(" \t")


def _read_headers(readline: Callable[[], bytes]) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for _ in range(MAX_HEADERS + 1):
        line = _read_line(readline)
        if not line:
            return headers
        if match := _HEADER.fullmatch(line):
            headers.append((match[1], match[2].rstrip(" \t")))
        elif headers and (match := _CONTINUED.fullmatch(line)):
            # One space for where a header is continued (RFC 9112, 5.2), even at its ends: a
            # length that is spread over lines is none.
            name, value = headers[-1]
            headers[-1] = name, value + " " + match[1].rstrip(" \t")
        else:
            raise NotHttpError(f"{line[:60]!r} is no header")
    raise NotHttpError(f"got more than {MAX_HEADERS} headers")


def _read_line(readline: Callable[[], bytes]) -> str:
    line = readline()
    if not line.endswith(b"\n"):
        raise ConnectionError("the server closed it before it had answered")
    return line[: -2 if line.endswith(b"\r\n") else -1].decode("latin-1")
