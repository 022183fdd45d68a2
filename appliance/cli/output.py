"""How a command ends: one result for people or one JSON object, and one exit code.

A command returns a Result or raises one of our errors. stdout carries results only,
stderr everything else; with --json stdout carries exactly one object, also on failure.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import click

from appliance.errors import ApplianceError
from appliance.runs.exit_codes import EXIT_CODES, as_ours, exit_code, worst
from appliance.runs.session import Session
from appliance.value import frozen, replaced

SCHEMA: Final = 1
_JSON: Final = "attestor.json"
_QUIET: Final = "attestor.quiet"
_VERBOSE: Final = "attestor.verbose"


@frozen
class Result:
    """What a command found: the same facts for machines and for people."""

    data: Mapping[str, Any]  # JSON-able; plain integers, RFC 3339 Z times, hex digests
    text: str = ""  # for people, without the last newline; empty prints nothing
    warnings: tuple[str, ...] = ()
    errors: tuple[ApplianceError, ...] = ()  # failures among several outcomes; the worst wins
    code: int | None = None  # of check alone, which has its own; else the errors decide


def common_options(command: Callable[..., Result]) -> Callable[..., None]:
    """Give a command --json, -q and -v, print what it returns, and end with the right code.

    Apply it directly above the function, below click's own decorators.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
    @click.option("-v", "--verbose", count=True, help="Say more; may be repeated.")
    @functools.wraps(command)
    def run(*args: Any, as_json: bool, quiet: bool, verbose: int, **kwargs: Any) -> None:
        context = click.get_current_context()
        context.meta[_QUIET] = quiet or as_json
        context.meta[_JSON] = as_json
        context.meta[_VERBOSE] = verbose
        try:
            result = command(*args, **kwargs)
        except tuple(EXIT_CODES) as error:  # anything else is a bug: let it show
            result = Result({}, errors=(as_ours(error),))
        _record(context, result)
        _finish(context, result, as_json=as_json, quiet=quiet)

    return run


def _record(context: click.Context, result: Result) -> None:
    from appliance.runs.record import record_run

    if context.obj is not None and not context.params.get("dry_run"):
        code = worst(exit_code(error) for error in result.errors)
        # By its own names, whichever alias was typed.
        names, at = [], context
        while at.parent is not None:
            names.append(at.command.name or "")
            at = at.parent
        record_run(context.obj, " ".join(reversed(names)), code, result.errors)


def delivers_alerts(*, local_only: bool = False) -> Callable[..., Any]:
    """Deliver what is due when a command ends, however it ends; what waits is a warning.

    Apply it directly above pass_session, below common_options.
    """

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> Result:
            from appliance.runs.tell import deliver_due

            try:
                result = command(*args, **kwargs)
            except tuple(EXIT_CODES) as error:  # anything else is a bug: let it show
                result = Result({}, errors=(as_ours(error),))
            session = click.get_current_context().find_object(Session)
            warnings = tuple(deliver_due(session, local_only=local_only)) if session else ()
            return replaced(result, warnings=(*result.warnings, *warnings))

        return run

    return decorate


def printable(text: str) -> str:
    """Escape what is no printable character: names in certificates are a stranger's text."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def note(message: str) -> None:
    """Tell a person what is going on, on stderr, unless -q or --json."""
    if not is_quiet():
        click.echo(message, err=True)


def is_quiet() -> bool:
    """Whether -q or --json was given."""
    return bool(click.get_current_context().meta.get(_QUIET))


def is_json() -> bool:
    """Whether --json was given."""
    return bool(click.get_current_context().meta.get(_JSON))


def verbosity() -> int:
    """Return how often -v was given."""
    return int(click.get_current_context().meta.get(_VERBOSE, 0))


def envelope(
    command: str,
    *,
    code: int,
    data: Mapping[str, Any],
    warnings: tuple[str, ...] = (),
    error: Mapping[str, str] | None = None,
) -> str:
    """Format the one JSON object of a run (docs/json.md)."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "command": command,
        "ok": code == 0,
        "exitCode": code,
        "warnings": list(warnings),
        "data": data,
    }
    if error is not None:
        document["error"] = error
    return _json_text(document)


def stream_json_lines(one: Mapping[str, Any]) -> None:
    """Print one object of a stream, at once."""
    click.echo(_json_text(one))


def stream_text(text: str) -> None:
    """Print one answer of a stream for people, at once."""
    if not is_quiet():
        click.echo(text)


def _json_text(document: Mapping[str, Any]) -> str:
    # A byte of a file name that is not UTF-8 becomes its escape, as in os.fsdecode.
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def command_name(context: click.Context) -> str:
    """Return the words of the command, without the program's name."""
    return context.command_path.partition(" ")[2]


def _finish(context: click.Context, result: Result, *, as_json: bool, quiet: bool) -> NoReturn:
    code = result.code
    if code is None:
        code = worst(exit_code(error) for error in result.errors)
    leads = [one for one in result.errors if result.code is not None or exit_code(one) == code]
    leading = leads[0] if leads else None
    if as_json:
        described = None if leading is None else _describe(leading)
        name = command_name(context)
        click.echo(
            envelope(name, code=code, data=result.data, warnings=result.warnings, error=described)
        )
    else:
        if result.text and not quiet:
            click.echo(result.text)
        if not quiet:
            for warning in result.warnings:
                click.echo(f"Warning: {warning}", err=True)
        for error in result.errors:
            click.echo(f"Error: {error_line(error)}", err=True)
    context.exit(code)


def error_line(error: ApplianceError) -> str:
    """Return the one line that says what is wrong and what to do next."""
    next_step = f"; {error.next_step}" if error.next_step else ""
    return f"{error.message}{next_step}"


def _describe(error: ApplianceError) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message, "next": error.next_step}
