"""A process that dies at a write, as by a power cut of its own."""

from __future__ import annotations

import os
from typing import Any, Final

EXIT_CODE: Final = 9


def die_at_write(kind: type, at: int, execute: str, execute_many: str) -> None:
    """Let this process end at the `at`-th statement that a `kind` executes, counted from 1.

    `execute` and `execute_many` name its methods; of many rows the first is still written.
    """
    run, run_many, left = getattr(kind, execute), getattr(kind, execute_many), at

    def dying(self: Any, sql: str, parameters: Any = ()) -> Any:
        nonlocal left
        left -= 1
        if left <= 0:
            os._exit(EXIT_CODE)
        return run(self, sql, parameters)

    def dying_many(self: Any, sql: str, rows: Any) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            run_many(self, sql, list(rows)[:1])
            os._exit(EXIT_CODE)
        run_many(self, sql, rows)

    setattr(kind, execute, dying)
    setattr(kind, execute_many, dying_many)
