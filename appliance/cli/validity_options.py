"""The options by which an export says when it may be imported."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from appliance.jobs.export_manifest import Moment


def validity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --not-before and --expires, as one `validity`."""

    @click.option(
        "--not-before",
        metavar="TIME",
        help="Refused over there before: 2026-01-31T23:59:59Z, or 2d from now.",
    )
    @click.option(
        "--expires", metavar="TIME", help="Refused over there after: a time, or 14d from now."
    )
    @functools.wraps(command)
    def run(*args: Any, not_before: str | None, expires: str | None, **kwargs: Any) -> Any:
        from appliance.jobs.export_manifest import Validity

        validity = Validity(
            _moment("--not-before", not_before),
            _moment("--expires", expires),
        )
        return command(*args, validity=validity, **kwargs)

    return run


def _moment(option: str, text: str | None) -> Moment | None:
    from appliance.config.durations import parse_duration
    from appliance.errors import ConfigError
    from appliance.jobs.export_manifest import Moment
    from bundles.strict_json import TIME_SPELLING, parse_time

    if text is None:
        return None
    seconds = parse_time(text)
    if seconds is not None:
        return Moment(seconds)
    try:
        return Moment(int(parse_duration(text)), after_export=True)
    except ConfigError as error:
        raise click.UsageError(
            f"{option}: expected a time {TIME_SPELLING}, or a duration such as 14d or 12h,"
            f" got {text[:40]!r} ({error.message})"
        ) from error
