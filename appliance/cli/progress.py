"""How far long work is, on stderr: a line on a terminal, or JSON Lines where they are wanted."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from appliance.cli.numbers import size_text
from appliance.cli.output import is_quiet, progress_wanted, show_progress, stream_progress
from appliance.jobs.progress import SILENT, Progress
from appliance.times import age_text

REDRAW_SECONDS: Final = 0.1
JSON_SECONDS: Final = 1.0
_RATE_SECONDS: Final = 1.0  # before that a rate is a guess


@contextlib.contextmanager
def progress_bar(label: str, total: int | None = None) -> Iterator[Progress]:
    """Yield what is to be told how much more is done; silent unless stderr is a terminal or
    --progress json was given.

    The line says what, how much, of how much if that is known, how fast, and how long it
    takes still, or has taken. Each stage leaves its line.
    """
    wanted = progress_wanted()
    if wanted == "json":
        line: _Line = _JsonLines(label, total)
    elif wanted == "never" or is_quiet() or not sys.stderr.isatty():
        yield SILENT
        return
    else:
        line = _Line(label, total)
    try:
        yield line
    finally:
        line.end()


class _Line(Progress):
    """What is drawn on this line of the terminal."""

    _every: float = REDRAW_SECONDS

    def __init__(self, label: str, total: int | None) -> None:
        self._name = label
        self._begin(label, total, n_bytes=False)

    def stage(
        self, what: str, total: Callable[[], int | None] | None = None, *, n_bytes: bool = False
    ) -> None:
        self.end()
        self._begin(f"{self._name}, {what}", total and total(), n_bytes=n_bytes)

    def _begin(self, label: str, total: int | None, *, n_bytes: bool) -> None:
        self._label, self._total, self._is_bytes = label, total, n_bytes
        self._begun, self._done, self._drawn = time.monotonic(), 0, 0.0

    def __call__(self, more: int) -> None:
        self._done += more
        now = time.monotonic()
        if now - self._drawn >= self._every or (more and self._done == self._total):
            self._drawn = now
            self._draw(now)

    def end(self) -> None:
        """Leave the line as it is at last, if there is something on it."""
        if self._done or self._drawn:
            self._draw(time.monotonic())
            self._close()
        self._done, self._drawn = 0, 0.0

    def _draw(self, now: float) -> None:
        text = progress_text(
            self._label, self._done, self._total, now - self._begun, n_bytes=self._is_bytes
        )
        show_progress(text)

    def _close(self) -> None:
        show_progress(None)


class _JsonLines(_Line):
    """The same, as one object a line, for a program that watches (docs/json.md)."""

    _every = JSON_SECONDS

    def _draw(self, now: float) -> None:
        stream_progress(
            {
                "type": "progress",
                "what": self._label,
                "done": self._done,
                "total": self._total,
                "unit": "bytes" if self._is_bytes else "items",
                "seconds": round(now - self._begun, 3),
            }
        )

    def _close(self) -> None:
        pass


def progress_text(
    label: str, done: int, total: int | None, seconds: float, *, n_bytes: bool = False
) -> str:
    """Write how far something is after so many seconds.

    >>> progress_text("blobs", 1200, None, 0.5)
    'blobs: 1,200'
    >>> progress_text("blobs", 1200, 4800, 60.0)
    'blobs: 1,200 of 4,800 (25 %), 20/s, 3m 0s left'
    >>> progress_text("reading", 1_200_000, 4_800_000, 60.0, n_bytes=True)
    'reading: 1.2 MB of 4.8 MB (25 %), 20.0 kB/s, 3m 0s left'
    """
    amount = size_text if n_bytes else "{:,}".format
    text = f"{label}: {amount(done)}"
    if total:
        text += f" of {amount(total)} ({min(done * 100 // total, 100)} %)"
    if seconds < _RATE_SECONDS or not done:
        return text
    rate = done / seconds
    if n_bytes:
        text += f", {size_text(int(rate))}/s"
    else:
        text += f", {rate:,.0f}/s" if rate >= 10 else f", {rate:.1f}/s"
    if total and total > done:
        return f"{text}, {age_text((total - done) / rate)} left"
    return f"{text}, {age_text(seconds)}"
