"""What options of several commands have in common."""

from __future__ import annotations

import contextlib
import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from appliance.config.durations import parse_milliseconds
from appliance.errors import ArgumentError, ConfigError, LimitError, MalformedError
from appliance.runs.exit_codes import naming
from appliance.store.files import read_foreign
from appliance.tlog.note_keys import VerifierKey, parse_vkey

MAX_VKEY_FILE_BYTES: Final = 4096


def seconds_option(text: str | None, option: str, default: float | None) -> float:
    """Parse a duration given as an option; `default` (None: 0) if it was not given."""
    if text is None:
        return default or 0.0
    try:
        return parse_milliseconds(text) / 1000
    except ConfigError as error:
        raise click.BadParameter(error.message, param_hint=option) from error


@contextlib.contextmanager
def typed(what: str) -> Iterator[None]:
    """Make what is wrong with something typed an ArgumentError that names it.

    The same text in a file is the file's fault, and has the code of that.
    """
    try:
        yield
    except (MalformedError, ConfigError, LimitError) as error:
        message = error.message if error.message.startswith(what) else f"{what}: {error.message}"
        raise ArgumentError(
            message, reason=error.reason, next_step=error.next_step or "see --help"
        ) from error


def verifier_key(
    vkey: str | None, file: Path | None, *, name: str = "VKEY", option: str = "--vkey-file"
) -> VerifierKey:
    """Read a verifier key typed as itself, or from the file that an option names.

    What was typed is never taken for a file's name: whoever fills the directory, or the
    stick, would choose the key. Raises UsageError unless exactly one of the two is given.
    """
    if (vkey is None) == (file is None):
        raise click.UsageError(f"either {name} or {option} FILE is needed")
    if file is None:
        with typed(name):
            return _typed_verifier_key(vkey or "", option)
    with naming(file):
        text = read_foreign(file, MAX_VKEY_FILE_BYTES).decode("utf-8", "replace")
        return parse_vkey(text.removesuffix("\n").removesuffix("\r"))


def _typed_verifier_key(text: str, option: str) -> VerifierKey:
    try:
        return parse_vkey(text)
    except MalformedError as error:
        import shlex  # for this message alone

        if os.path.isfile(text):  # noqa: PTH113 Path's raises for a name that is too long
            file = shlex.quote(text)
            error.next_step = (
                f'what the file holds is wanted, not its name: "$(cat {file})", or {option} {file}'
            )
        raise
