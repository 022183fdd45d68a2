"""README shows every command as it is; every command explains itself with an example."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import click
import pytest

from appliance.cli.docs import every_command, help_of
from appliance.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = [pytest.param(*one, id=one[0]) for one in every_command()]


def test_readme_is_what_cog_makes_of_it() -> None:
    from cogapp import Cog

    cog = Cog()
    told = io.StringIO()
    with redirect_stdout(told):
        code = cog.main(["cog", "--check", "-I", str(ROOT), str(ROOT / "README.md")])
    assert code == 0, f"{told.getvalue()}\nrun: .venv/bin/cog -r -I . README.md"


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_every_command_has_help_with_an_example_and_is_in_readme(
    words: str, command: click.Command
) -> None:
    text = help_of(words, command)
    assert command.help and command.help.split("\n")[0].strip().endswith("."), words
    assert re.search(rf"Example:.*{re.escape(words)}\b", text, re.DOTALL), f"{words}: no example"
    assert f"### {words}\n" in (ROOT / "README.md").read_text()
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{words} {option.name} has no help"


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_every_command_speaks_json(words: str, command: click.Command) -> None:
    names = {name for option in command.params for name in option.opts}
    assert {"--json", "--quiet", "--verbose"} <= names, words


def test_every_group_has_help() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None and command.help, name


def test_the_shell_blocks_of_readme_call_commands_that_exist() -> None:
    known = {words for words, _ in every_command()}
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    called = [line for block in blocks for line in block.split("\n") if line.startswith("attestor")]
    assert len(called) > 10
    for line in called:
        words = line.split(" ")
        assert {" ".join(words[:2]), " ".join(words[:3])} & known, line


def test_the_words_of_design_are_the_words_of_the_code() -> None:
    text = (ROOT / "DESIGN.md").read_text()
    for path in re.findall(r"`((?:jobs|policy|store|tlog|bundles)/[a-z_]+\.(?:py|md))`", text):
        found = (
            ROOT / "appliance" / path,
            ROOT / path,
            ROOT / path.replace("bundles/", "bundles/"),
        )
        assert any(one.exists() for one in found), path
