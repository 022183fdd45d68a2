"""What clients of Rekor v1 are told that ask a v2 log: where what they want is."""

from __future__ import annotations

from typing import Final

from appliance.serve.answers import NOT_FOUND, Answer, error_answer
from appliance.serve.requests import Request
from appliance.serve.routes import Routes

_PREFIX: Final = "/api/v1/"
_ENTRIES: Final = "/api/v1/log/entries"
_LOOK_UPS: Final = ("/api/v1/log/entries/retrieve", "/api/v1/index/retrieve")  # by POST
_READ: Final = (
    "this is a Rekor v2 log, which has no look-ups of version 1; an entry is proven from its tiles"
    " by: attestor log get --url URL --log-index N"
)
_WRITE: Final = (
    "this is a Rekor v2 log, which takes nothing of version 1: entries are posted to"
    " /api/v2/log/entries"
)


def add_version_one(routes: Routes) -> None:
    """Answer what is asked below /api/v1/: 404, and where it is instead."""
    routes.add("GET", _ENTRIES, _not_read)
    routes.add("POST", _ENTRIES, _not_written)
    for path in _LOOK_UPS:
        routes.add("POST", path, _not_read)
    routes.add_reads(_PREFIX, lambda _: True, _not_read)


def _not_read(_: Request) -> Answer:
    return error_answer(NOT_FOUND, _READ)


def _not_written(_: Request) -> Answer:
    return error_answer(NOT_FOUND, _WRITE)
