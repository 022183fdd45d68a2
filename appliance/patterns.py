"""Regular expressions that are compiled when they are first asked something.

A module has a handful, a run uses a few of them, and compiling costs a start more than reading
the module: a twentieth of a verify.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


def pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return a pattern, to be compiled later; re.error comes then. For constants of a module."""
    return cast("re.Pattern[AnyStr]", LaterPattern(text, flags))


class LaterPattern:
    """Stands in for a pattern until it is asked anything, and passes everything on to it."""

    def __init__(self, text: Any, flags: int = 0) -> None:
        self._given = text, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._given), name)
        setattr(self, name, found)  # the next question goes straight to it
        return found
