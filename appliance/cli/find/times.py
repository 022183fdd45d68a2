"""Points in time that are given as options."""

from __future__ import annotations

import click

from bundles.strict_json import TIME_SPELLING, parse_time


def time_option(option: str, text: str | None) -> int | None:
    """Parse a time given as an option, Unix seconds; None if it was not given."""
    if text is None:
        return None
    seconds = parse_time(text)
    if seconds is None:
        raise click.UsageError(f"{option}: expected a time {TIME_SPELLING}, got {text[:40]!r}")
    return seconds
