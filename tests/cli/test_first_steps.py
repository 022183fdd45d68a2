"""What somebody meets first: the name alone, help that is whole, Tab, the manual."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from appliance.cli.main import cli, run
from tests.cli.homes import Home
from tests.cli.mirrored import MirroredHome

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def groups(
    group: click.Group = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Group]]:
    yield words, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from groups(command, (*words, name))


@pytest.mark.parametrize("words", [(), ("queue",), ("backend", "key")])
def test_a_name_alone_prints_help_and_is_no_mistake(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(list(words)) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: {' '.join(('attestor', *words))} ") and err == ""


def test_no_line_of_help_is_cut() -> None:
    found = dict(groups())
    assert len(found) > 20
    for words, group in found.items():
        context = click.Context(group, info_name=" ".join(("attestor", *words)))
        context.terminal_width = 80
        text = group.get_help(context).partition("\nCommands:")[2]
        assert not re.search(r"\.\.\.$", text, re.MULTILINE), text


def test_a_user_without_a_home_directory_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("ATTESTOR_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(Path, "home", nobody)
    assert run(["sync"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and "--home DIR or ATTESTOR_HOME" in err


def test_a_key_of_another_type_never_becomes_a_logs(home: Home) -> None:
    for name in ("site.example", "bundles.example"):
        if name != "site.example":
            home.json("key", "generate", name)
        error = home.json("log", "create", "build", "--origin", name, "--use-key", expect=8)
        assert error["reason"] == "key-role"
    home.json("key", "generate", "log2.example", "--type", "log")
    home.json("log", "create", "build", "--origin", "log2.example", "--use-key")


def completed(home: Home, line: str) -> list[str]:
    """Return what Tab offers behind a line, as bash would ask."""
    words = f"attestor --home {home.path} {line}"
    done = subprocess.run(
        [sys.executable, "-m", "appliance.cli.main"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_ATTESTOR_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [one.partition(",")[2] for one in done.stdout.split("\n") if one]


def test_tab_completes_what_this_home_knows(home: MirroredHome) -> None:
    home.json("tenant", "add", "team-a")
    for line, expected in {
        "backend show s": ["sim"],
        "sync --backend ": ["sim"],
        "prove --origin l": ["log.example"],
        "tenant disable team": ["team-a"],
        "config set rekorSync.sy": ["rekorSync.syncInterval"],
        "alerts show ": [],
    }.items():
        assert completed(home, line) == expected, line


def test_tab_in_a_home_that_is_not_there_offers_nothing(home: Home) -> None:
    shutil.rmtree(home.path)
    assert completed(home, "backend show s") == []
    assert "backend" in completed(home, "back")


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("manual")
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "manual", made],
        env={**os.environ, "ATTESTOR_MANUAL": "1"},
        check=True,
    )
    return made


def test_there_is_a_page_for_each_command_and_it_renders_without_a_complaint(manual: Path) -> None:
    pages = {path.name for path in (manual / "man" / "man1").iterdir()}
    assert pages == {
        "attestor.1",
        *(f"attestor-{name}.1" for name in cli.list_commands(click.Context(cli))),
    }
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("no man and groff here: apt-get install man-db groff")
    for path in sorted((manual / "man" / "man1").iterdir()):
        done = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", path],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == "", path.name
        assert "EXIT STATUS" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_takes_its_completion(manual: Path, shell: str) -> None:
    file = manual / "completions" / f"attestor.{shell}"
    assert "_ATTESTOR_COMPLETE" in file.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n", file], check=True)
