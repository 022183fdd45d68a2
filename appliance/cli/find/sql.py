"""sql: ask the views of this home anything, and change nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import click

from appliance.cli.csv_text import csv_text
from appliance.cli.find.criteria import OIDS
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options, is_json, printable
from appliance.runs.session import Session, pass_session
from appliance.runs.sql import export_sql, init_script, run_sql
from appliance.store.find.views import Rows

_SECONDS: Final = 30.0
_WITHOUT_INDEX: Final = (
    "this home has no index of entries, from which v_entries, v_identities and v_opaque are:"
    " they have no rows; run 'attestor index build'"
)
_INTEGER: Final = re.compile("-?(0|[1-9][0-9]{0,17})")


@click.command("sql")
@click.argument("statement", required=False)
@click.option(
    "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="For :NAME in it; repeatable."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line for each row.")
@click.option("--timeout", metavar="DURATION", help="Stopped after this long.  [default: 30s]")
@click.option("--max-rows", type=Whole(1), default=10_000, show_default=True, help="Most rows.")
@click.option("--init", is_flag=True, help="Print what 'sqlite3 -init FILE' reads.")
@click.option(
    "--export",
    "output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the views as tables of a new SQLite file.",
)
@common_options
@pass_session
def sql(
    session: Session,
    statement: str | None,
    parameters: tuple[str, ...],
    as_csv: bool,
    jsonl: bool,
    timeout: str | None,
    max_rows: int,
    init: bool,
    output: Path | None,
) -> Result:
    """Run one SELECT over the views of this home.

    Both files are opened read only, and nothing but the views can be read. The functions
    regexp (a REGEXP b, RE2 as in a search), and entry_body(origin, index), claim(origin,
    index, name) and signed_at(origin, index), which read and prove the entry, come with it.
    A statement that is not over in time is code 8, reason sql-timeout. What --init and
    --export give is for other programs: without these functions. The columns of each view
    are in docs/sql.md.

    \b
    Example:
        attestor sql "SELECT identity, entries FROM v_identities ORDER BY entries DESC LIMIT 10"
        attestor sql "SELECT * FROM v_entries WHERE identity = :who" -p who=release@example.com --csv
        attestor sql --export entries.db
    """  # noqa: E501 one line, to be copied

    if [statement is not None, init, output is not None].count(True) != 1:
        raise click.UsageError("give a STATEMENT, or --init, or --export FILE")
    if as_csv + jsonl + is_json() > 1:
        raise click.UsageError("--csv, --jsonl and --json exclude each other")
    if (as_csv or jsonl or parameters or timeout) and statement is None:
        raise click.UsageError("-p, --csv, --jsonl and --timeout go with a STATEMENT")
    if init:
        script = init_script(session)
        return Result(members(script=script), script.removesuffix("\n"))
    if output is not None:
        counts, without_index = export_sql(session, output)
        lines = [f"{name}: {n:,} rows" for name, n in counts.items()]
        lacks = (_WITHOUT_INDEX,) if without_index else ()
        return Result(members(output=output, rows=counts), "\n".join(lines), lacks)
    found = run_sql(
        session,
        statement or "",
        dict(map(_parameter, parameters)),
        OIDS,
        seconds=seconds_option(timeout, "--timeout", _SECONDS),
        max_rows=max_rows,
    )
    warnings = ["there are more rows than --max-rows"] if found.more else []
    if found.without_index:
        warnings.append(_WITHOUT_INDEX)
    rows = [[_plain(one) for one in row] for row in found.rows]
    text = csv_text(found.columns, rows) if as_csv else _jsonl(found) if jsonl else _table(found)
    return Result(members(found, "columns", "more", rows=rows), text, tuple(warnings))


def _parameter(text: str) -> tuple[str, str | int]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise click.BadParameter(f"expected NAME=VALUE, got {text[:80]!r}", param_hint="-p")
    return name, int(value) if _INTEGER.fullmatch(value) else value


def _plain(value: Any) -> Any:
    """Write bytes in hex; the rest is JSON as it is."""
    return value.hex() if isinstance(value, bytes) else value


def _table(found: Rows) -> str:
    rows = [
        ["" if one is None else printable(str(_plain(one))) for one in row] for row in found.rows
    ]
    widths = [max(map(len, column)) for column in zip(*(found.columns, *rows), strict=True)]
    lines = [found.columns, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in lines
    )


def _jsonl(found: Rows) -> str:
    return "\n".join(
        json.dumps(dict(zip(found.columns, map(_plain, row), strict=True))) for row in found.rows
    )
