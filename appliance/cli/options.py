"""What options of several commands have in common."""

from __future__ import annotations

import click

from appliance.config.durations import parse_duration
from appliance.errors import ConfigError


def seconds_option(text: str | None, option: str, default: float | None) -> float:
    """Parse a duration given as an option; `default` (None: 0) if it was not given."""
    if text is None:
        return default or 0.0
    try:
        return float(parse_duration(text))
    except ConfigError as error:
        raise click.BadParameter(error.message, param_hint=option) from error
