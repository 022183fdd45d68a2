"""Run patterns over names that strangers wrote, each search bounded in time.

A badly written pattern can take longer than the universe on a text made for it. A search
that is not over in time has no answer: it is undecided, never "no match". The clock is an
interval timer of this process, so searches run in its main thread. Where google-re2 is
installed (the extra `re2`), it is asked then: it ends on any text, at ten times the cost.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from types import FrameType
from typing import Final, TypeVar

from appliance.errors import LimitError
from appliance.policy.re2 import translate

T = TypeVar("T")

SECONDS: Final = 0.1  # for one search, unless the settings say otherwise
_TOGETHER: Final = 64  # texts under one timer; only if it runs out, each has its own
_MAX_KNOWN: Final = 50_000  # answers remembered
_MOST: Final = 20  # searches of a pattern that may run out of time before it is spared more


class OverTimeError(LimitError):
    """A pattern did not come to an end on a text."""

    default_reason = "pattern-over-time"


class _AlarmError(Exception):
    """The timer ran out."""


class Matcher:
    """One compiled pattern. Raises ConfigError (bad-pattern) for what RE2 does not know."""

    def __init__(self, text: str, seconds: float = SECONDS) -> None:
        translated = translate(text)
        self.text = text
        self.prefix = translated.prefix  # what all that it matches begins with
        self._compiled = re.compile(translated.python, re.ASCII)
        self._seconds = seconds
        self._shortest = 0  # length of the shortest text that took too long
        self._over = 0  # how many did
        self._known: dict[str, bool] = {}

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in a text; raises OverTimeError if that cannot be told."""
        if not text.startswith(self.prefix):
            return False
        found = self._known.get(text)
        if found is None:
            found = next(iter(self.search_all([text])))
        if found is None:
            raise OverTimeError(
                f"the pattern {self.text[:80]!r} did not end within {self._seconds:g} s"
                f" on a text of {len(text):,} characters"
            )
        return found

    def search_all(self, texts: Sequence[str]) -> Iterator[bool | None]:
        """Yield for each text whether it matches anywhere in it; None: that cannot be told."""
        for start in range(0, len(texts), _TOGETHER):
            some = texts[start : start + _TOGETHER]
            found = self._within(some)
            if found is None:
                yield from (self._alone(text) for text in some)
            else:
                yield from found

    def _alone(self, text: str) -> bool | None:
        found = self._by_python(text)
        if found is None and (decided := linear(self.text)) is not None:
            return decided(text)
        return found

    def _by_python(self, text: str) -> bool | None:
        if self._over >= _MOST and len(text) >= self._shortest:
            return None
        found = self._within([text])
        if found is not None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[text] = found[0]
            return found[0]
        self._over += 1
        self._shortest = min(len(text), self._shortest or len(text))
        return None

    def search_untimed(self, text: str) -> bool:
        """Whether it matches anywhere in a text: only within `in_time`."""
        return text.startswith(self.prefix) and self._compiled.search(text) is not None

    def _within(self, texts: Sequence[str]) -> list[bool] | None:
        """Search texts under one timer; None: it ran out."""
        search = self._compiled.search
        return in_time(self._seconds, lambda: [search(text) is not None for text in texts])


def in_time(seconds: float, ask: Callable[[], T]) -> T | None:
    """Return the answer of something that searches, under one timer; None: it ran out."""
    before = signal.signal(signal.SIGALRM, _alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return ask()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _AlarmError:
        return None
    finally:
        signal.signal(signal.SIGALRM, before)


@lru_cache(maxsize=4096)
def matcher(text: str, seconds: float = SECONDS) -> Matcher:
    """Compile a pattern once; raises as Matcher does."""
    return Matcher(text, seconds)


@lru_cache(maxsize=256)
def linear(pattern: str) -> Callable[[str], bool] | None:
    """Return RE2's own answer to a pattern; None: it is not installed, or does not take it."""
    try:
        import re2
    except ImportError:
        return None
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error:
        return None
    return lambda text: compiled.search(text) is not None


def _alarm(_: int, __: FrameType | None) -> None:
    raise _AlarmError
