"""The options of an export in groups: where it starts, what it holds, who carries it, how long."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from appliance.config.durations import parse_milliseconds
from appliance.errors import ConfigError
from appliance.jobs.transfer.manifest import Moment, Validity
from appliance.runs.export import BaseOption, Content
from appliance.value import frozen
from bundles.strict_json import TIME_SPELLING, parse_time

FILE = click.Path(path_type=Path, dir_okay=False)
FULL_EVERY: Final = 10  # exports through a diode, one of which is complete
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


# The options by which an export says when it may be imported.


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

        validity = Validity(
            _moment("--not-before", not_before),
            _moment("--expires", expires),
        )
        return command(*args, validity=validity, **kwargs)

    return run


def _moment(option: str, text: str | None) -> Moment | None:

    if text is None:
        return None
    seconds = parse_time(text)
    if seconds is not None:
        return Moment(seconds)
    try:
        return Moment(parse_milliseconds(text) // 1000, after_export=True)
    except ConfigError as error:
        raise click.UsageError(
            f"{option}: expected a time {TIME_SPELLING}, or a duration such as 14d or 12h,"
            f" got {text[:40]!r} ({error.message})"
        ) from error


def base_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --base, and the older options that say the same, as one `base`."""

    @click.option(
        "--base",
        "base_text",
        metavar="WHAT",
        help="Continue from: a tree size, receipt:FILE, site:NAME (what it holds), exports:K (the"
        " K-th last export); or all: complete.",
    )
    @click.option("--full", is_flag=True, hidden=True, help="The same as --base all.")
    @click.option("--since-size", type=click.IntRange(0), hidden=True, help="--base SIZE.")
    @click.option("--since-receipt", type=FILE, hidden=True, help="--base receipt:FILE.")
    @click.option("--to", "far_site", metavar="SITE", hidden=True, help="--base site:NAME.")
    @click.option("--overlap", type=click.IntRange(1), hidden=True, help="--base exports:K.")
    @click.option("--no-ack", is_flag=True, help="Diode: count on no receipt, be complete often.")
    @click.option("--full-every", type=click.IntRange(1), help="With --no-ack.  [default: 10]")
    @functools.wraps(command)
    def run(
        *args: Any,
        base_text: str | None,
        full: bool,
        since_size: int | None,
        since_receipt: Path | None,
        far_site: str | None,
        overlap: int | None,
        no_ack: bool,
        full_every: int | None,
        **kwargs: Any,
    ) -> Any:
        given = [parse_base(base_text)] if base_text is not None else []
        given += [BaseOption(full=True)] if full else []
        given += [BaseOption(size=since_size)] if since_size is not None else []
        given += [BaseOption(receipt=since_receipt)] if since_receipt is not None else []
        given += [BaseOption(site=far_site)] if far_site is not None else []
        given += [BaseOption(exports=overlap)] if overlap is not None else []
        if len(given) > 1:
            raise click.UsageError(
                "--base, --full, --since-size, --since-receipt, --to and --overlap exclude each"
                " other"
            )
        base = given[0] if given else BaseOption()
        if full_every is not None and not no_ack:
            raise click.UsageError("--full-every needs --no-ack")
        if no_ack and base not in (BaseOption(), BaseOption(exports=base.exports)):
            raise click.UsageError("--no-ack goes with --base exports:K only")
        diode = (full_every or FULL_EVERY) if no_ack else None
        return command(*args, base=base, full_every=diode, **kwargs)

    return run


def parse_base(text: str) -> BaseOption:
    """Read what --base says; raises UsageError. No file is looked for unless it is named so.

    What a delta then continues from is chosen in jobs/transfer/plan.py, `choose_base`.

    >>> parse_base("all").full, parse_base("81234").size, parse_base("site:inside.example").site
    (True, 81234, 'inside.example')
    """
    kind, _, value = text.partition(":")
    if text == "all":
        return BaseOption(full=True)
    if re.fullmatch("[0-9]{1,19}", text):
        return BaseOption(size=int(text))
    if kind == "receipt" and value:
        return BaseOption(receipt=Path(value))
    if kind == "site" and value:
        return BaseOption(site=value)
    if kind == "exports" and re.fullmatch("[1-9][0-9]{0,5}", value):
        return BaseOption(exports=int(value))
    raise click.UsageError(
        "--base: expected all, a tree size, receipt:FILE, site:NAME or exports:K,"
        f" got {text[:80]!r}"
    )


def content_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say what travels, as one `content`."""

    @click.option(
        "--include-tiles/--no-tiles", default=True, help="Hash tiles.  [default: include]"
    )
    @click.option("--include-entries/--no-entries", default=False, help="Entry bundles as well.")
    @click.option(
        "--checkpoints-only-verified",
        is_flag=True,
        help="Of checkpoints seen elsewhere, only those proven here.",
    )
    @click.option(
        "--include-pending/--no-pending",
        default=None,
        help="What is queued here, to be logged over there.  [default: on an isolated site]",
    )
    @click.option(
        "--for",
        "sigstore_bundles",
        type=FILE,
        multiple=True,
        help="Only what proves this; repeatable.",
    )
    @click.option(
        "--include-expected",
        is_flag=True,
        help="What is expected to be signed here; older versions over there refuse it.",
    )
    @click.option(
        "--include-watches",
        is_flag=True,
        help="The watches of this site; older versions over there refuse it.",
    )
    @click.option(
        "--statement",
        "statements",
        type=FILE,
        multiple=True,
        help="A signed statement of what a search found; repeatable.",
    )
    @functools.wraps(command)
    def run(
        *args: Any,
        include_tiles: bool,
        include_entries: bool,
        checkpoints_only_verified: bool,
        include_pending: bool | None,
        sigstore_bundles: tuple[Path, ...],
        include_expected: bool,
        include_watches: bool,
        statements: tuple[Path, ...],
        **kwargs: Any,
    ) -> Any:
        content = Content(
            include_tiles,
            include_entries,
            checkpoints_only_verified,
            include_pending,
            sigstore_bundles,
            include_expected,
            include_watches,
            statements,
        )
        return command(*args, content=content, **kwargs)

    return run
