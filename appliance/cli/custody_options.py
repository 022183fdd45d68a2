"""The options by which export and import say who carries what on which medium."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click

from appliance.value import frozen

MAX_TEXT: Final = 200  # characters of each thing said


@frozen
class Carrier:
    """Who carries it on what. An empty text: not said."""

    handler: str
    medium: str
    seal: str
    ticket: str


def carrier_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --handler, --medium, --seal and --ticket, as one `carrier`."""

    @click.option("--handler", default="", help="Who carries it: goes into the custody list.")
    @click.option("--medium", default="", help="What it is on: the label of the stick.")
    @click.option("--seal", default="", help="Number on the seal.")
    @click.option("--ticket", default="", help="What asked for it.")
    @functools.wraps(command)
    def run(*args: Any, handler: str, medium: str, seal: str, ticket: str, **kwargs: Any) -> Any:
        carrier = Carrier(
            printable("--handler", handler),
            printable("--medium", medium),
            printable("--seal", seal),
            printable("--ticket", ticket),
        )
        if not carrier.handler and any((medium, seal, ticket)):
            raise click.UsageError("--medium, --seal and --ticket need a --handler")
        return command(*args, carrier=carrier, **kwargs)

    return run


def printable(option: str, text: str, longest: int = MAX_TEXT) -> str:
    """Return what was said; raises UsageError unless it is short and printable."""
    if len(text) > longest or not text.isprintable():
        raise click.UsageError(
            f"{option}: expected printable text of at most {longest} characters,"
            f" got {text[:MAX_TEXT]!r}"
        )
    return text
