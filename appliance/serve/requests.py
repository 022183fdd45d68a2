"""HTTP requests as values, whatever server they came through."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from appliance.value import frozen, replaced

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

_UNPREFIXED: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")  # as CGI spells them


@frozen
class Request:
    """One HTTP request whose head was read."""

    method: str  # upper case; HEAD is told apart from GET by Routes alone
    path: str  # decoded, begins with a slash; below a log's prefix where a log is asked
    headers: Callable[[str], str]  # by name in any case; "" if it was not sent
    read: Callable[[int], bytes]  # at most so many bytes of the body
    peer: str  # the address that connected to us
    client: str = ""  # the address it speaks for, which is its own unless we trust it as a proxy
    caller: str = ""  # who its token or its certificate says it is; "" if nobody asked

    def below(self, path: str) -> Request:
        """Return the same request for another path."""
        return replaced(self, path=path)


def request_of(environ: WSGIEnvironment) -> Request:
    """Make a request of what a WSGI server (PEP 3333) hands over."""

    def header(name: str) -> str:
        word = name.upper().replace("-", "_")
        return str(environ.get(word if word in _UNPREFIXED else f"HTTP_{word}", ""))

    peer = str(environ.get("REMOTE_ADDR", ""))
    body = environ["wsgi.input"]
    return Request(
        environ["REQUEST_METHOD"], environ["PATH_INFO"], header, body.read, peer, client=peer
    )
