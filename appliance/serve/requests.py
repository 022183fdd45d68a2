"""HTTP requests as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appliance.value import frozen, replaced


@frozen
class Request:
    """One HTTP request whose head was read."""

    method: str  # upper case; HEAD is told apart from GET by Routes alone
    path: str  # decoded, begins with a slash; below a log's prefix where a log is asked
    headers: Callable[[str], str]  # by name in any case; "" if it was not sent
    read: Callable[[int], bytes]  # at most so many bytes of the body
    peer: str  # the address that connected to us
    client: str = ""  # the address it speaks for, which is its own unless we trust it as a proxy

    def below(self, path: str) -> Request:
        """Return the same request for another path."""
        return replaced(self, path=path)


def request_of(parsed: Any, peer: str) -> Request:
    """Make a request of what waitress has read, its body included; `peer` sent it."""
    headers: dict[str, str] = parsed.headers  # names in upper case, with underscores

    def header(name: str) -> str:
        return headers.get(name.upper().replace("-", "_"), "")

    path: str = parsed.path
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    body = parsed.get_body_stream()
    return Request(parsed.command.upper(), path, header, body.read, peer, peer)
