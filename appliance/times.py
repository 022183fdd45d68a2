"""How times and ages are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))

CLOCKS_AGREE_SECONDS: Final = 300  # clocks that agree this well agree
MAX_SECONDS = 253402300799  # the last of the year 9999


def utc(seconds: int) -> str:
    """Format Unix seconds as RFC 3339 UTC; what no calendar has, as the number it is.

    >>> utc(0)
    '1970-01-01T00:00:00Z'
    >>> utc(2**60)
    '1152921504606846976 s'
    """
    if abs(seconds) > MAX_SECONDS or seconds < -62135596800:
        return f"{seconds} s"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age_text(seconds: float) -> str:
    """Write an age for people, in its two largest units; none is less than nothing.

    >>> age_text(135), age_text(90_000), age_text(273_600), age_text(-5)
    ('2m 15s', '1d 1h', '3d 4h', '0s')
    """
    rest = max(int(seconds), 0)
    parts: list[str] = []
    for unit, size in _UNITS:
        amount, rest = divmod(rest, size)
        if amount or parts or unit == "s":
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])
