"""Which handler answers which method at which path, and what is answered where none does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from appliance.serve.answers import NOT_FOUND, WRONG_METHOD, Outcome, error_answer
from appliance.serve.requests import Request

Handler: TypeAlias = Callable[[Request], Outcome]


class Routes:
    """The endpoints of one service. A path is matched whole, or by a rule below a prefix."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Handler]] = {}
        self._below: list[tuple[str, Callable[[str], bool], Handler]] = []

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Answer `method` at `path`. What answers GET answers HEAD."""
        self._exact.setdefault(path, {})[method] = handler

    def add_reads(self, prefix: str, is_path: Callable[[str], bool], handler: Handler) -> None:
        """Answer GET below `prefix` where `is_path` says so of the rest, with the rest as path."""
        self._below.append((prefix, is_path, handler))

    def knows(self, path: str) -> bool:
        """Whether something is answered at exactly this path."""
        return path in self._exact

    def answer(self, request: Request) -> Outcome:
        """Answer a request: 404 for a path that is not known, 501 for a method that is not."""
        method = "GET" if request.method == "HEAD" else request.method
        handlers = self._exact.get(request.path)
        if handlers is not None:
            if method in handlers:
                return handlers[method](request)
            return error_answer(WRONG_METHOD, "Method Not Allowed")
        for prefix, is_path, handler in self._below:
            rest = request.path.removeprefix(prefix)
            if request.path.startswith(prefix) and is_path(rest):
                if method == "GET":
                    return handler(request.below(rest))
                return error_answer(WRONG_METHOD, "Method Not Allowed")
        return error_answer(NOT_FOUND, "Not Found")
