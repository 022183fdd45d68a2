"""How times are written."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(seconds: int) -> str:
    """Format Unix seconds as RFC 3339 UTC.

    >>> utc(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
