"""What README shows of the commands, made from the commands themselves (by cog)."""

from __future__ import annotations

from collections.abc import Iterator

import click

from appliance.cli.main import cli
from appliance.runs.exit_codes import EXIT_CODES, OTHER_CODES

HELP_COLUMNS = 80


def exit_code_table() -> str:
    """Return the table of exit codes in Markdown."""
    meanings = dict(OTHER_CODES) | dict(EXIT_CODES.values())
    rows = [f"| {code} | {meanings[code]} |" for code in sorted(meanings)]
    return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"


def every_command(
    group: click.Group = cli, words: tuple[str, ...] = ("attestor",)
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(f"{name} is listed and not there")
        if isinstance(command, click.Group):
            yield from every_command(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def help_of(words: str, command: click.Command) -> str:
    """Return a command's help as 80 columns show it."""
    # The names that the root command gives its subcommands: click remembers the first it sees.
    names = cli.context_settings["help_option_names"]
    context = click.Context(
        command, info_name=words, max_content_width=HELP_COLUMNS, help_option_names=names
    )
    context.terminal_width = HELP_COLUMNS
    return command.get_help(context)


def command_reference() -> str:
    """Return the help of every command in Markdown."""
    parts = [
        f"### {words}\n\n```text\n{help_of(words, command)}\n```\n"
        for words, command in every_command()
    ]
    return "\n" + "\n".join(parts) + "\n"
