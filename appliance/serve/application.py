"""The WSGI application around what answers requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from appliance.serve.answers import respond
from appliance.serve.requests import request_of
from appliance.serve.routes import Handler

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class Application:
    """Turns what a WSGI server hands over into requests, and answers into what it sends."""

    def __init__(self, answer: Handler) -> None:
        self._answer = answer

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = request_of(environ)
        answer = self._answer(request)
        return respond(answer, start_response, head=request.method == "HEAD")
