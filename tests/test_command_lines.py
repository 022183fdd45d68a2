"""What documents, units and cron files tell people and machines to run can be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.command_lines import commands_in, commands_in_markdown, verify_command_line

ROOT = Path(__file__).resolve().parent.parent
AT_THE_TOP = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
DOCUMENTS = [*AT_THE_TOP, *sorted((ROOT / "docs").glob("*.md"))]
SYSTEMD = ROOT / "scripts" / "systemd"
CRON = ROOT / "scripts" / "cron" / "attestor"
_CRON_FIELD = r"(?:\*|[0-9]+(?:-[0-9]+)?)(?:/[0-9]+)?"


def exec_lines(unit: Path) -> list[str]:
    return re.findall(r"(?m)^Exec\w+=(.*)$", unit.read_text())


def cron_jobs() -> Iterator[tuple[str, str]]:
    """Yield (user, command line) of the jobs, those that are to be uncommented included."""
    for line in CRON.read_text().split("\n"):
        if line and not re.match(r"# |#$|[A-Z_]+=", line):
            job = re.fullmatch(rf"#?(?:{_CRON_FIELD}\s+){{5}}(\w+)\s+(.*)", line)
            assert job is not None, line
            yield job[1], job[2]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_line_in_a_document_names_what_is_there(document: Path) -> None:
    found = list(commands_in_markdown(document.read_text()))
    assert found
    for words in found:
        try:
            verify_command_line(words)
        except click.UsageError as error:
            pytest.fail(f"{document.name}: attestor {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("unit", sorted(SYSTEMD.glob("*.service")), ids=lambda path: path.name)
def test_every_command_of_a_unit_is_there(unit: Path) -> None:
    lines = exec_lines(unit)
    assert lines
    for line in lines:
        (words,) = commands_in(line)
        verify_command_line(words)


def test_every_line_for_cron_is_one_and_its_commands_are_there() -> None:
    jobs = list(cron_jobs())
    assert len(jobs) == 5
    for user, line in jobs:
        assert user == "attestor"
        assert "%" not in line, "cron makes a new line of it"
        commands = list(commands_in(line))
        assert commands, line
        for words in commands:
            verify_command_line(words)
            assert "--quiet" in words, "cron mails whatever is printed"


def test_cron_and_systemd_run_the_same() -> None:
    by_cron = [line for _, line in cron_jobs()]
    by_units = [
        line
        for unit in SYSTEMD.glob("*.service")
        if unit.with_suffix(".timer").exists()  # what only serves is nothing for cron
        for line in exec_lines(unit)
    ]
    assert _run_by(by_cron) == _run_by(by_units)


def _run_by(lines: list[str]) -> set[tuple[str, ...]]:
    """Return the commands, without the path of the textfile."""
    found = {tuple(words) for line in lines for words in commands_in(line)}
    return {words[:-1] if "--textfile" in words else words for words in found}


@pytest.mark.parametrize(
    "line",
    [
        "attestor sink",
        "attestor sync --fulll",
        "attestor alerts show",
        "attestor alerts show 1 2",
        "attestor drill --attack flood",
        "attestor alerts dump 1",
        "attestor --color no sync | attestor nothing",
    ],
)
def test_a_line_that_cannot_run_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        for words in commands_in_markdown(f"```sh\n{line}\n```\n"):
            verify_command_line(words)


def test_lines_are_found_wherever_documents_have_them() -> None:
    text = "See `attestor\nsync -v`.\n\n    attestor doctor\n\n```sh\nX=1; attestor sync\n```\n"
    assert list(commands_in_markdown(text)) == [["doctor"], ["sync", "-v", "…"]]
    assert list(commands_in("A=1; attestor sync -q; attestor doctor | head")) == [
        ["sync", "-q"],
        ["doctor"],
    ]
