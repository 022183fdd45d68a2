"""File names and texts from outside reach the terminal as text, and never forge a line."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import pytest

from appliance.cli.output import _STEERING, as_text, one_line
from appliance.runs import exit_codes
from tests.cli.homes import Home

STEERING = "\x1b[2J\x9b2J\u202egnp.\u2066x\u200b\u2028y\r\x07"
FORGED = "a\nError: all is well\nb"


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "home", capsys)


def is_tame(text: str) -> bool:
    return not any(one in text for one in STEERING if not one.isprintable())


def test_text_keeps_its_lines_and_loses_what_steers() -> None:
    assert as_text("plain, t\u00e4b\t\nline") == "plain, t\u00e4b\t\nline"
    assert is_tame(as_text(STEERING)) and is_tame(one_line(STEERING))
    assert one_line("a\nb\x1b") == "a\\nb\\x1b"
    assert as_text("\udc9b\udcff") == "\\x9b\udcff"  # bytes of a name that is not UTF-8


def test_whatever_steers_is_escaped_although_plain_text_is_passed_on_unread() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    steering = re.findall(_STEERING, every)
    assert len(steering) > 250
    assert not any(as_text(one) == one for one in steering)


@pytest.mark.parametrize("name", [STEERING, FORGED])
@pytest.mark.parametrize(
    "command",
    [
        ["import"],
        ["inspect"],
        ["receipt", "show"],
        ["receipt", "accept"],
        ["checkpoint", "add"],
        ["countersign", "--key", "site.example"],
        ["trust", "import"],
        ["config", "validate"],
        ["journal", "verify"],
        ["verify", "--key", "k.pem", "--bundle", "b"],
        ["verify", "--key"],
        ["exporters", "add"],
        ["exporters", "add", "--vkey-file"],
        ["alerts", "show"],
        ["queue", "show"],
        ["backend", "show"],
        ["nonsense"],
        ["sync", "--max-tiles"],
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_name_never_steers_or_forges(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    command: list[str],
    exists: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    if exists:
        (tmp_path / name).write_text("what is this")
    code, out, err = home.run(*command, name)
    assert code not in (0, 1) and is_tame(out + err), out + err
    assert sum(line.startswith("Error:") for line in (out + err).splitlines()) == 1
    _, out, _ = home.run(*command, name, "--json")
    assert is_tame(out)
    assert json.loads(out)["ok"] is False


def test_a_name_that_is_repeated_in_a_result_begins_no_line(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = home.run("journal", "export", "--output", FORGED)
    assert code == 0 and (tmp_path / FORGED).exists()
    assert not any(line.startswith("Error:") for line in out.splitlines())
    assert "a\\nError: all is well\\nb" in out
    assert json.loads(home.run("journal", "verify", FORGED, "--json")[1])["data"]["file"] == FORGED


def test_only_one_place_prints() -> None:
    root = Path(exit_codes.__file__).parents[1]
    printing = {("click", "echo"), ("click", "secho"), ("stdout", "write"), ("stderr", "write")}
    found = set()
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if isinstance(called, ast.Name) and called.id == "print":
                found.add(str(file.relative_to(root)))
            if isinstance(called, ast.Attribute):
                owner = called.value
                name = getattr(owner, "id", getattr(owner, "attr", ""))
                if (name, called.attr) in printing:
                    found.add(str(file.relative_to(root)))
    # The checker of an evidence pack stands alone, and the start knows one text: the version.
    assert found == {"cli/output.py", "cli/start.py", "cli/divergence/evidence_check.py"}
