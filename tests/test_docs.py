"""What the documents show is what the program does; every command explains itself.

Generated parts are compared with what scripts/docs would write; what README shows is run.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from appliance.cli.main import cli
from scripts.reference import every_command, help_of
from tests.alerts_heard import mail_server
from tests.command_lines import commands_in, verify_command_line
from tests.shared import shared

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [pytest.param(*one, id=one[0]) for one in every_command()]
GENERATED = ("commands", "configuration", "metrics", "schema", "verification")


def blocks(language: str, text: str = README) -> list[str]:
    """Return the code blocks of a document in a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_document_is_what_the_program_says(name: str) -> None:
    from cogapp import Cog

    told = io.StringIO()
    with redirect_stdout(told):
        code = Cog().main(["cog", "--check", "-I", str(ROOT), str(ROOT / "docs" / f"{name}.md")])
    assert code == 0, f"{told.getvalue()}\nrun: scripts/docs"


def test_scripts_docs_writes_all_of_them() -> None:
    marked = {path.stem for path in (ROOT / "docs").glob("*.md") if "[[[cog" in path.read_text()}
    assert marked == set(GENERATED)
    named = re.findall(r"docs/(\w+)\.md", (ROOT / "scripts" / "docs").read_text())
    assert sorted(named) == sorted(GENERATED)


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_every_command_has_help_with_an_example(words: str, command: click.Command) -> None:
    text = help_of(words, command)
    assert command.help and command.help.split("\n")[0].strip().endswith("."), words
    assert re.search(rf"Example:.*{re.escape(words)}\b", text, re.DOTALL), f"{words}: no example"
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


def test_the_json_that_is_documented_is_what_is_printed(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "json.md").read_text()
    documented = json.loads(text.partition("```json\n")[2].partition("```")[0])
    CliRunner().invoke(cli, ["--home", str(tmp_path), "init", "--site", "here.example"])
    words = [*documented["command"].split(), "9", "--json"]
    printed = CliRunner().invoke(cli, ["--home", str(tmp_path), *words])
    assert json.loads(printed.stdout) == documented
    table = text.partition("| Member |")[2].partition("\n\n")[0]
    names = set(re.findall(r"(?m)^\| `(\w+)` \|", table))
    assert names == set(documented)


def test_readme_is_short() -> None:
    assert len(README.split("\n")) <= 150


def test_readme_verifies_a_public_artifact_as_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a home and without a network: what was downloaded is the reference data's."""
    (block,) = blocks("console")
    shown, _, output = block.replace("\\\n", " ").partition("\n")
    (words,) = commands_in(shown.removeprefix("$ "))
    record = next(
        one
        for one in json.loads(
            shared("corpus/cpython-release-tracker/versions/3.12.9.json").read_bytes()
        )
        if f"sha256:{one['sha256']}" == words[1]
    )
    named = Path(words[words.index("--bundle") + 1])
    assert f"{Path(record['url']).name}.sigstore" == named.name
    assert f"{record['url']}.sigstore" in README
    (tmp_path / named).write_text(json.dumps(record["sigstore"]))
    root = shared("corpus/root-signing/trusted_root.json")
    (tmp_path / words[words.index("--trusted-root") + 1]).write_bytes(root.read_bytes())
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["--home", str(tmp_path / "absent"), *words])
    assert (done.exit_code, done.stdout) == (0, output)
    assert not (tmp_path / "absent").exists()


def test_readme_shows_the_steps_of_the_demo() -> None:
    (block,) = (one for one in blocks("text") if " 1. " in one)
    source = (ROOT / "scripts" / "demo.py").read_text().partition("def upstream_demo")[0]
    demo = " ".join(source.split())
    steps = re.findall(r"(?m)^ ?(\d+)\. (.*)$", block)
    assert [int(number) for number, _ in steps] == list(range(1, demo.count("demo.step(") + 1))
    for _, text in steps:
        assert f'"{text}"' in demo, text
    for line in re.findall(r"\w+\$ (attestor .*)", block):
        (words,) = commands_in(line)
        verify_command_line(words)


@pytest.fixture
def path_with_the_command(tmp_path: Path) -> str:
    """Return a PATH whose attestor is this tree's, whatever is installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "attestor"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m appliance.cli.main "$@"\n'
    )
    command.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def typed(port: int, mail: str, text: str) -> Iterator[str]:
    """Yield the lines of a document's shell blocks, in order, as somebody types them."""
    for block in blocks("sh", text):
        for line in block.split("\n"):
            if line:
                known = line.replace("smtp://127.0.0.1:2525", mail)
                yield known.replace("127.0.0.1:3000", f"127.0.0.1:{port}")
                if line.endswith("&"):  # nobody types faster than a server starts
                    probe = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
                    yield f"for i in $(seq 100); do ({probe}) 2>/dev/null && break; sleep 0.1; done"


def run_typed(place: Path, path: str, text: str, mail: str = "") -> str:
    """Type a document into a new directory; return what was printed."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    script = "\n".join(
        ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || :' EXIT", *typed(port, mail, text)]
    )
    place.mkdir()
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=place,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_three_homes_of_readme_can_be_typed_in_order(
    tmp_path: Path, path_with_the_command: str
) -> None:
    with mail_server() as (mail, messages):
        out = run_typed(tmp_path / "place", path_with_the_command, README, mail)
    assert "log.example 0: hashedrekord 0.0.2, proven in the tree of 1\n" in out
    [message] = messages
    assert "To: you@example.com" in message
    assert "watch us: 1 entry of log.example matches" in message
    assert "app.txt: VERIFIED\n" in out
    assert "covered by our mirror up to 1: it holds entry 0" in out
    made = {one.name for one in (tmp_path / "three-homes").iterdir()}
    assert {"log", "outside", "inside", "stick"} <= made
    assert not list((tmp_path / "place").iterdir())  # it stands for the clone: no key lands there


@pytest.mark.slow
def test_the_first_hour_can_be_typed_in_order(tmp_path: Path, path_with_the_command: str) -> None:
    text = (ROOT / "docs" / "first-hour.md").read_text()
    out = run_typed(tmp_path / "place", path_with_the_command, text)
    assert out.count("refused with code 3\n") == 2
    assert "app2.txt: VERIFIED\n" in out and "log.example: 1 -> 2" in out
    assert "checks are good" in out and (tmp_path / "place" / "report.html").is_file()
