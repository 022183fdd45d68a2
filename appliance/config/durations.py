"""Durations as people write them (docs/configuration.md).

Two families: `5m`, `1h30m`, `250ms`, `14d`, units falling, each at most once; and
`hh:mm:ss`, `d.hh:mm:ss` with a fraction, as .NET writes them. The value is a whole number of
milliseconds. A bare number says no unit and is refused; so is a negative one.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.errors import ConfigError
from appliance.patterns import pattern

EXPECTED: Final = "a duration such as 250ms, 5m, 1h30m, 14d or 00:10:00"
MAX_DURATION_DAYS: Final = 36_500  # a century; more is a slip of the keyboard
_MILLISECONDS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_UNITS: Final = pattern(
    r"(?:([0-9]{1,12})d)?(?:([0-9]{1,12})h)?(?:([0-9]{1,12})m(?!s))?"
    r"(?:([0-9]{1,12})s)?(?:([0-9]{1,12})ms)?"
)
_CLOCK: Final = pattern(
    r"(?:([0-9]{1,12})\.)?([0-9]{2}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,7}))?"
)


def parse_milliseconds(text: str) -> int:
    """Parse a duration into milliseconds.

    >>> parse_milliseconds("1h30m")
    5400000
    >>> parse_milliseconds("1.02:03:04.250")
    93784250

    Raises ConfigError (reason bad-duration) for anything else, above all for a number
    without a unit, which one tool reads as seconds and the next as hours.
    """
    if found := _UNITS.fullmatch(text):
        amounts = found.groups()
        if any(amount is not None for amount in amounts):
            pairs = zip(amounts, _MILLISECONDS.values(), strict=True)
            return _bounded(sum(int(amount or 0) * unit for amount, unit in pairs), text)
    elif found := _CLOCK.fullmatch(text):
        return _bounded(_clock_milliseconds(found, text), text)
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text):
        raise _bad(f"{text} has no unit", f"write {text}s if you mean seconds")
    if text.startswith("-"):
        raise _bad(f"{text[:40]!r} is negative", "write it without the minus sign")
    raise _bad(f"expected {EXPECTED}, got {text[:40]!r}")


def _clock_milliseconds(found: re.Match[str], text: str) -> int:
    days, hours, minutes, seconds, fraction = found.groups()
    if int(hours) > 23:
        # .NET reads 24:00:00 as 24 days, people as one: nobody gets to guess.
        raise _bad(f"{text[:40]!r} has {hours} hours, 23 at most", "write days as d.hh:mm:ss")
    thousandths = (fraction or "").ljust(7, "0")
    if thousandths[3:] != "0000":
        raise _bad(f"{text[:40]!r} is finer than a millisecond")
    whole = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    return whole * 1000 + int(thousandths[:3])


def _bounded(milliseconds: int, text: str) -> int:
    if milliseconds > MAX_DURATION_DAYS * _MILLISECONDS["d"]:
        raise _bad(f"{text[:40]!r} is longer than {MAX_DURATION_DAYS}d")
    return milliseconds


def format_milliseconds(milliseconds: int) -> str:
    """Write a duration in its one canonical spelling.

    >>> format_milliseconds(parse_milliseconds("00:59:00"))
    '59m'
    >>> format_milliseconds(2_592_000_000)
    '30d'

    Raises ValueError if it is negative.
    """
    if milliseconds < 0:
        raise ValueError(f"a duration is not negative: {milliseconds} ms")
    rest = milliseconds
    parts = []
    for unit, size in _MILLISECONDS.items():
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def _bad(message: str, next_step: str = f"write {EXPECTED}") -> ConfigError:
    return ConfigError(message, reason="bad-duration", next_step=next_step)
