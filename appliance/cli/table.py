"""Tables for people: a line of headings, then one line a row, the same in a pipe.

Scripts take --json, which is exact; --no-headers leaves the rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import click

from appliance.cli.output import one_line
from appliance.times import utc

_NO_HEADERS: Final = "attestor.no_headers"


def headings_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that prints a table --no-headers."""

    def keep(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.meta[_NO_HEADERS] = value

    return click.option(
        "--no-headers",
        is_flag=True,
        expose_value=False,
        callback=keep,
        help="Leave out the line of headings.",
    )(command)


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], right: Collection[str] = ()
) -> list[str]:
    """Lay out rows in columns as wide as they need; those of numbers (`right`) end together.

    Whole numbers are written with separators, nothing at all as "-". Returns the lines,
    headings first, unless --no-headers was given; none if there is no row.

    >>> table(("Log", "Size"), [("a.example", 1200), ("b.example", None)], right=("Size",))
    ['Log         Size', 'a.example  1,200', 'b.example      -']
    """
    texts = [[_cell(one) for one in row] for row in rows]
    if not texts:
        return []
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    aligned = [str.rjust if heading in right else str.ljust for heading in headings]
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(_NO_HEADERS):
        headed = texts
    else:
        headed = [[*headings], *texts]
    return [
        "  ".join(
            align(text, width) for align, text, width in zip(aligned, row, widths, strict=True)
        ).rstrip()
        for row in headed
    ]


def table_time(seconds: int | None) -> str | None:
    """Write a time for a column whose heading says that it is UTC.

    >>> table_time(0)
    '1970-01-01 00:00:00'
    """
    return None if seconds is None else utc(seconds).replace("T", " ").removesuffix("Z")


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:,}" if isinstance(value, int) else one_line(str(value))
