"""Fail the nth durable call of a run: once before it takes effect, once after.

Durable calls are fsync, rename and SQLite's COMMIT: what separates "may be lost" from
"will be there". A test first counts them, then fails each.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


class PowerCutError(BaseException):
    """The process ends here. Nobody catches it."""


class Faults:
    """Counts durable calls, and fails one."""

    def __init__(
        self, fail_at: int = 0, *, after: bool = False, error: BaseException | None = None
    ) -> None:
        self.fail_at = fail_at  # from 1; 0: none
        self.after = after  # it took effect, but whoever called is not told
        self.error = error or PowerCutError()
        self.calls: list[str] = []

    def __call__(self, name: str, real: Callable[..., Any], *args: Any) -> Any:
        self.calls.append(name)
        failing = len(self.calls) == self.fail_at
        if failing and not self.after:
            raise self.error
        result = real(*args)
        if failing:
            raise self.error
        return result


@contextmanager
def injected(faults: Faults) -> Iterator[Faults]:
    """Route the durable calls of this process through `faults`."""
    fsync, rename, connect = os.fsync, os.rename, sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "COMMIT":
                cursor: sqlite3.Cursor = faults("commit", super().execute, sql)
                return cursor
            return super().execute(sql, *args)

    with (
        patch("os.fsync", lambda descriptor: faults("fsync", fsync, descriptor)),
        # A path's own rename ends here too.
        patch("os.rename", lambda old, new: faults("rename", rename, old, new)),
        patch("sqlite3.connect", lambda *a, **k: connect(*a, factory=Connection, **k)),
    ):
        yield faults
