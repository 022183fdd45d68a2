"""Command lines as documents, units and cron files have them, held against the real commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

import click

from appliance.cli.main import cli

_SUBSTITUTED = re.compile(r"\$\([^)]*\)|\$\w+|\$\{\w+\}")
_INLINE = re.compile(r"`(attestor\s[^`]*)`")
_FENCE = re.compile(r"(?m)^\s*```.*$")
_ELLIPSIS = {"…", "..."}  # something was left out here


def commands_in(line: str) -> Iterator[list[str]]:
    """Yield the words of each attestor command in a line of shell, its name left out."""
    lexer = shlex.shlex(_SUBSTITUTED.sub("X", line), posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if set(word) <= set(";|&<>"):
            if words[:1] == ["attestor"]:
                yield words[1:]
            words = []
        else:
            words.append(word)


def commands_in_markdown(text: str) -> Iterator[list[str]]:
    """Yield the words of each attestor command in fenced or indented code and in backquotes.

    What a sentence mentions in backquotes need not be complete: it ends with an ellipsis.
    """
    # Prose and fenced code take turns.
    for number, part in enumerate(_FENCE.split(text.replace("\\\n", " "))):
        fenced = number % 2 == 1
        for line in part.split("\n"):
            if line.strip().startswith("attestor ") and (fenced or line.startswith("   ")):
                yield from commands_in(line)
        for inline in [] if fenced else _INLINE.findall(part):
            yield from ([*words, "…"] for words in commands_in(" ".join(inline.split())))


def verify_command_line(words: list[str]) -> None:
    """Hold a command line against the command it names: options, choices, how many arguments.

    Where an ellipsis stands, arguments and values may be missing. The mention of a whole group
    is right. Raises click.UsageError if there is no such command or option.
    """
    complete = not any("…" in word or word in _ELLIPSIS for word in words)
    rest = [word for word in words if word not in _ELLIPSIS]
    if not complete:
        rest.append("X")  # the value of an option that stands last
    command: click.Command = cli
    # With the root command's names of the help option: click keeps the first that it sees.
    names = cli.context_settings["help_option_names"]
    context = click.Context(command, info_name="attestor", help_option_names=names)
    while True:
        given, rest, _ = command.make_parser(context).parse_args(rest)
        if not isinstance(command, click.Group):
            break
        if not rest or (rest == ["X"] and not complete):
            return
        name, found, rest = command.resolve_command(context, rest)
        if found is None:
            raise click.UsageError(f"no command {name!r}", context)
        command, context = found, click.Context(found, context, info_name=name)  # names come along
    _verify_choices(command, given, context)
    if complete:
        _verify_arguments(command, given, len(rest), context)


def _verify_choices(
    command: click.Command, given: Mapping[str, object], context: click.Context
) -> None:
    for option in command.params:
        if isinstance(option.type, click.Choice) and option.name in given:
            values = given[option.name]
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, str):
                    option.type.convert(value, option, context)


def _verify_arguments(
    command: click.Command, given: Mapping[str, object], too_many: int, context: click.Context
) -> None:
    for argument in command.params:
        if isinstance(argument, click.Argument) and argument.required:
            value = given.get(argument.name or "")
            if not isinstance(value, (str, tuple)) or not value:
                raise click.UsageError(f"{argument.human_readable_name} is missing", context)
    if too_many:
        raise click.UsageError(f"{too_many} arguments too many", context)
