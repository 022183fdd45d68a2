"""How a command ends: one result for people or one JSON object, and one exit code.

A command returns a Result or raises one of our errors. stdout carries results only,
stderr everything else; with --json stdout carries exactly one object, also on failure.

This is the one place that prints. File names and what servers, logs and sticks say go to
the terminal only as text: what would steer it, or turn the reading direction, is escaped.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from click.core import ParameterSource

from appliance.errors import ApplianceError, DivergenceError
from appliance.patterns import pattern
from appliance.runs.exit_codes import EXIT_CODES, as_ours, exit_code, worst
from appliance.runs.session import Session
from appliance.value import frozen, replaced

SCHEMA: Final = 1
_JSON: Final = "attestor.json"
_QUIET: Final = "attestor.quiet"
_VERBOSE: Final = "attestor.verbose"
_RECORDED: Final = "attestor.recorded"
PROGRESS: Final = "attestor.progress"

# What a terminal acts on instead of showing it: C0 but for tab and line feed, DEL, C1 (also
# as bytes of names that are not UTF-8), format characters (bidi, zero width), line separators.
# Compiled when it is first needed: most runs print nothing of the kind.
_STEERING: Final = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\udc80-\udc9f\U000e0000-\U000e007f]"
)


def as_text(text: str) -> str:
    """Return a text of several lines with all that would steer a terminal escaped."""
    if _is_plain(text):
        return text
    return re.sub(_STEERING, lambda found: _escaped(found[0]), text)


def _is_plain(text: str) -> bool:
    """Whether there is surely nothing to escape: whatever steers is not printable to Python."""
    return text.replace("\n", "").replace("\t", "").isprintable()


def one_line(text: str) -> str:
    """Return a text as as_text does, and on one line: nothing in it begins another."""
    return as_text(text).replace("\n", "\\n")


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


# What a word that ends a line of ours means; click leaves the colour out where none is wanted.
_TONES: Final = (
    (pattern(r"(?m)(?<=: )VERIFIED$|\b(?:HEALTHY|FROZEN)$"), "green"),
    (pattern(r"(?m)\bDEGRADED$|(?<=  )warning\b"), "yellow"),
    (pattern(r"(?m)\b(?:UNHEALTHY|QUARANTINED)$|(?<=  )critical\b"), "red"),
)
_STARTS: Final = {"Error:": "red", "Warning:": "yellow"}


def say(line: str, *, err: bool = False) -> None:
    """Print one line, whatever it holds.

    That standard error takes no more, as on a full disk, changes nothing of what was done and
    its exit code; that nobody reads it ends us as it ends any program.
    """
    text = one_line(line)
    start, space, rest = text.partition(" ")
    if err and start in _STARTS:
        text = f"{click.style(start, fg=_STARTS[start])}{space}{rest}"
    try:
        click.echo(text, err=err)
    except OSError as error:
        if not err or isinstance(error, BrokenPipeError):
            raise


def warn(message: str) -> None:
    """Print one warning, of what goes on without it."""
    say(f"Warning: {message}", err=True)


def _coloured(text: str) -> str:
    """Colour the verdicts, healths and severities in what has been escaped."""
    for word, colour in _TONES:
        text = word.sub(click.style(r"\g<0>", fg=colour), text)
    return text


def show(text: str) -> None:
    """Print a text of several lines: help."""
    click.echo(as_text(text))


def show_progress(line: str | None) -> None:
    """Print how far something is in the place of what stood on this line; None: it is over."""
    if line is None:
        click.echo("", err=True)
    else:
        click.echo(f"\r\x1b[K{one_line(line)}", err=True, nl=False)


def progress_wanted() -> str:
    """Return what --progress was given: auto, json or never."""
    return str(click.get_current_context().meta.get(PROGRESS, "auto"))


def stream_progress(one: Mapping[str, Any]) -> None:
    """Print how far something is as one object a line, on stderr."""
    say(_json_text(one), err=True)


@frozen
class Result:
    """What a command found: the same facts for machines and for people."""

    data: dict[str, Any]  # JSON-able, as members() makes it (docs/json.md)
    text: str = ""  # for people, without the last newline; empty prints nothing
    warnings: tuple[str, ...] = ()
    errors: tuple[ApplianceError, ...] = ()  # failures among several outcomes; the worst wins
    essence: str = ""  # what -q still prints: an id that a script goes on with
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
        if context.invoked_subcommand is not None:
            return  # a group that is a command as well: its subcommand answers
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
    from appliance.runs.settle import settle

    if context.meta.get(_RECORDED):
        return
    context.meta[_RECORDED] = True
    if context.obj is not None and not context.params.get("dry_run"):
        code = worst(exit_code(error) for error in result.errors)
        # By its own names, whichever alias was typed.
        names, at = [], context
        while at.parent is not None:
            names.append(at.command.name or "")
            at = at.parent
        record_run(
            context.obj, " ".join(reversed(names)), code, result.errors, typed=_is_typed(context)
        )
        settle(context.obj, result.errors)


def _is_typed(context: click.Context) -> bool:
    """Whether an option or argument was given that changes what the command does."""
    return any(
        context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        for name in context.params.keys() - {"as_json", "quiet", "verbose"}
    )


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
            context = click.get_current_context()
            _record(context, result)  # first: a schedule that is met again is no problem any more
            session = context.find_object(Session)
            warnings: tuple[str, ...] = ()
            # A dry run writes nothing but evidence, and of that somebody is told.
            is_kept = any(isinstance(one, DivergenceError) for one in result.errors)
            if session and (is_kept or not kwargs.get("dry_run")):
                told = deliver_due(session, local_only=local_only, errors=result.errors)
                warnings = tuple(told)
            return replaced(result, warnings=(*result.warnings, *warnings))

        return run

    return decorate


def printable(text: str) -> str:
    """Escape what is no printable character: names in certificates are a stranger's text."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def note(message: str) -> None:
    """Tell a person what is going on, on stderr, unless -q or --json."""
    if not is_quiet():
        say(message, err=True)


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
    say(_json_text(one))


def stream_text(text: str) -> None:
    """Print one answer of a stream for people, at once."""
    if not is_quiet():
        click.echo(text)


def _json_text(document: Mapping[str, Any]) -> str:
    # A byte of a file name that is not UTF-8 becomes its escape, as in os.fsdecode.
    text = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    # The same JSON: each of these is a character inside a string.
    if _is_plain(text):
        return text
    return re.sub(_STEERING, lambda found: json.dumps(found[0])[1:-1], text)


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
        say(envelope(name, code=code, data=result.data, warnings=result.warnings, error=described))
    else:
        text = result.essence if quiet else result.text
        if text:
            click.echo(_coloured(as_text(_with_names_on_one_line(text, context))))
        if not quiet:
            for warning in result.warnings:
                warn(warning)
        for error in result.errors:
            say(f"Error: {error_line(error)}", err=True)
    context.exit(code)


def _with_names_on_one_line(text: str, context: click.Context) -> str:
    """Escape the line feeds of what was typed, a file's name above all, where it is repeated."""
    for value in context.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            names = [one] if isinstance(one, str) else []
            if isinstance(one, Path):
                names = [str(one), one.name, str(one.parent)]
            for name in names:
                if "\n" in name.rstrip("\n"):
                    text = text.replace(name, one_line(name))
    return text


def error_line(error: ApplianceError) -> str:
    """Return the one line that says what is wrong and what to do next."""
    next_step = f"; {error.next_step}" if error.next_step else ""
    return f"{error.message}{next_step}"


def _describe(error: ApplianceError) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message, "next": error.next_step}
