"""Groups of commands that import a command's module only when that command is wanted."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


def load_command(location: str) -> click.Command:
    """Import and return the command at "module:name", the module below appliance.cli."""
    module, _, name = location.partition(":")
    command = getattr(importlib.import_module(f"appliance.cli.{module}"), name)
    if not isinstance(command, click.Command):
        raise TypeError(f"{location} is no command")
    return command


class LazyGroup(click.Group):
    """A group with commands of its own, and commands that `lazy` locates by their names."""

    def __init__(self, *args: Any, lazy: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of all commands, sorted."""
        return sorted({*self.lazy, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if it is a lazy one; None if there is none."""
        if cmd_name in self.lazy:
            return load_command(self.lazy[cmd_name])
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their first sentences, whole: what is long is wrapped."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(500)) for name, one in found if one])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` name; say what was meant if it is a near miss."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # no other run needs it

            close = get_close_matches(args[0], self.known_names(ctx))
            if not close:
                raise
            hint = f"did you mean {' or '.join(close)}?"
            raise click.UsageError(f"no such command {args[0]!r}; {hint}", ctx) from error

    def known_names(self, ctx: click.Context) -> list[str]:
        """List every name that finds a command."""
        return self.list_commands(ctx)
