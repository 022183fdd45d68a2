"""A progress bar: on a terminal, on stderr, and only when somebody may be looking."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from appliance.cli.output import is_quiet, show_progress


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how much more is done; silent unless stderr is a terminal."""
    if is_quiet() or not sys.stderr.isatty():
        yield lambda _: None
        return
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        show_progress(label, done)

    try:
        yield advance
    finally:
        if done:
            show_progress(label, None)
