"""How times are written."""

from __future__ import annotations

from datetime import UTC, datetime

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
