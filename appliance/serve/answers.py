"""HTTP answers as values, and Rekor's form of an error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from appliance.value import frozen

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

JSON_TYPE: Final = "application/json"
# Of what another answer may follow at once: a cache has to ask us each time.
NOW: Final = (("Cache-Control", "no-cache"),)


@frozen
class Answer:
    """One HTTP response."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


@frozen
class ErrorCode:
    """How a failure is called in HTTP and in gRPC."""

    status: int
    code: int


INVALID: Final = ErrorCode(400, 3)
NOT_FOUND: Final = ErrorCode(404, 5)
EXISTS: Final = ErrorCode(409, 6)
FAILED: Final = ErrorCode(500, 2)
WRONG_METHOD: Final = ErrorCode(501, 12)
UNAVAILABLE: Final = ErrorCode(503, 14)


def error_answer(
    kind: ErrorCode, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """Make an error as Rekor's servers word it."""
    described = {"code": kind.code, "message": message, "details": []}
    return Answer(kind.status, json.dumps(described).encode(), headers=headers)


def respond(answer: Answer, start_response: StartResponse, *, head: bool) -> Iterable[bytes]:
    """Send an answer; with `head`, only what its headers would be."""
    status = HTTPStatus(answer.status)
    start_response(
        f"{status.value} {status.phrase}",
        [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            *answer.headers,
        ],
    )
    return () if head else (answer.body,)
