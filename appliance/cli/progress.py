"""A progress line: on a terminal, on stderr, and only when somebody may be looking."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from appliance.cli.output import is_quiet, show_progress
from appliance.times import age_text

REDRAW_SECONDS: Final = 0.1
_RATE_SECONDS: Final = 1.0  # before that a rate is a guess


@contextlib.contextmanager
def progress_bar(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how much more is done; silent unless stderr is a terminal.

    The line says what, how much, of how much if `total` is known, how fast, and how long it
    takes still, or has taken.
    """
    if is_quiet() or not sys.stderr.isatty():
        yield lambda _: None
        return
    begun, done, drawn = time.monotonic(), 0, 0.0

    def advance(more: int) -> None:
        nonlocal done, drawn
        done += more
        now = time.monotonic()
        if now - drawn >= REDRAW_SECONDS or done == total:
            drawn = now
            show_progress(progress_text(label, done, total, now - begun))

    try:
        yield advance
    finally:
        if done:
            show_progress(progress_text(label, done, total, time.monotonic() - begun))
            show_progress(None)


def progress_text(label: str, done: int, total: int | None, seconds: float) -> str:
    """Write how far something is after so many seconds.

    >>> progress_text("blobs", 1200, None, 0.5)
    'blobs: 1,200'
    >>> progress_text("blobs", 1200, 4800, 60.0)
    'blobs: 1,200 of 4,800 (25 %), 20/s, 3m 0s left'
    """
    text = f"{label}: {done:,}"
    if total:
        text += f" of {total:,} ({done * 100 // total} %)"
    if seconds < _RATE_SECONDS or not done:
        return text
    rate = done / seconds
    text += f", {rate:,.0f}/s" if rate >= 10 else f", {rate:.1f}/s"
    if total and total > done:
        return f"{text}, {age_text((total - done) / rate)} left"
    return f"{text}, {age_text(seconds)}"
