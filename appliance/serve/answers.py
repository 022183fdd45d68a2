"""HTTP answers as values, and Rekor's form of an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

from appliance.value import frozen

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


class Later:
    """An answer that is still to come, for which no thread waits.

    It is made by whoever takes it, once `coming` is done or after `seconds`.
    """

    __slots__ = ("coming", "make", "seconds")

    def __init__(
        self, coming: Future[Any], make: Callable[[Future[Any]], Answer], seconds: float
    ) -> None:
        self.coming = coming
        self.make = make  # of one that is not done as well: its time is over
        self.seconds = seconds  # it is waited for

    def then(self, change: Callable[[Answer | None], None]) -> Later:
        """Return the same, with `change` told of the answer when it is made; None: of a bug."""
        make = self.make

        def made(coming: Future[Any]) -> Answer:
            answer = None
            try:
                answer = make(coming)
                return answer
            finally:
                change(answer)

        return Later(self.coming, made, self.seconds)

    def take(self) -> Answer:
        """Make the answer; raises what making it raises."""
        return self.make(self.coming)


Outcome: TypeAlias = Answer | Later


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
