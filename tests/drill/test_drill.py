"""drill: every attack is met here, and where one is not, the drill says which."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.drill.drill import ATTACKS
from appliance.cli.main import run
from appliance.errors import StoreError
from appliance.jobs.drill import drill as jobs_drill
from appliance.policy.relate import Contradiction, Relation, Rule, relate
from appliance.runs.session import Session
from tests.cli.homes import NOW


class Drills:
    """Drills in a directory of their own, by an appliance that has no home."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capsys = capsys
        self.app = Session(home=directory / "no-home", now=lambda: NOW)

    def run(self, *words: str) -> tuple[int, str, str]:
        code = run(["drill", "--directory", str(self.directory), *words], self.app)
        out, err = self.capsys.readouterr()
        assert list(self.directory.iterdir()) == []
        return code, out, err

    def failed(self, *attacks: str) -> dict[str, list[str]]:
        """Which checks of which attacks failed; some must have."""
        code, out, _ = self.run("--json", *(f"--attack={one}" for one in attacks))
        answer: dict[str, Any] = json.loads(out)
        assert code == answer["exitCode"] == 3
        assert answer["error"]["reason"] == "drill-failed"
        failed = {
            one["attack"]: [check["what"] for check in one["checks"] if not check["passed"]]
            for one in answer["data"]["attacks"]
        }
        named = answer["error"]["message"].partition(": ")[2].split(", ")
        assert named == [attack for attack, checks in failed.items() if checks]
        return failed


@pytest.fixture
def drills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Drills:
    return Drills(tmp_path, capsys)


def test_every_attack_is_met(drills: Drills) -> None:
    before = time.process_time()  # what else the machine does is not counted
    code, out, err = drills.run("--json")
    assert time.process_time() - before < 60
    data = json.loads(out)["data"]
    assert (code, err, data["passed"]) == (0, "", True)
    assert [one["attack"] for one in data["attacks"]] == list(ATTACKS)
    for one in data["attacks"]:
        assert one["passed"] and len(one["checks"]) >= 8, one


def test_the_names_are_those_of_the_jobs() -> None:
    assert list(ATTACKS) == list(jobs_drill.ATTACKS)


def test_the_table_has_a_line_for_each_and_verbose_one_for_each_check(drills: Drills) -> None:
    code, out, err = drills.run("--attack", "stale", "--attack", "none", "--attack", "stale")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["stale", "passed"],
        ["none", "passed"],
    ]
    _, out, _ = drills.run("--attack", "stale", "-v")
    checks = [line for line in out.splitlines() if line.startswith("    ")]
    assert len(checks) >= 8 and all(" ok       " in line for line in checks)


def test_an_unknown_attack_is_a_mistake(drills: Drills) -> None:
    code, _, err = drills.run("--attack", "earthquake")
    assert code == 2 and "tampered-bundle" in err


def test_a_program_that_takes_forks_fails(drills: Drills, monkeypatch: pytest.MonkeyPatch) -> None:
    believed = {Rule.FORK: Relation.AHEAD, Rule.ROLLBACK: Relation.BEHIND}

    def believing(*heads: Any) -> Relation | Contradiction:
        honest = relate(*heads)
        return honest if isinstance(honest, Relation) else believed.get(honest.rule, honest)

    monkeypatch.setattr("appliance.jobs.mirror.absorb.relate", believing)
    failed = drills.failed("fork", "rollback", "none")
    assert failed["fork"] and failed["rollback"] and not failed["none"]


def test_a_program_that_does_not_check_signers_fails(
    drills: Drills, monkeypatch: pytest.MonkeyPatch
) -> None:
    from appliance.jobs.transfer import ingest
    from appliance.jobs.transfer.exporters import Signed
    from appliance.tlog.note import parse_note

    anybody = lambda _, note, *more: Signed(parse_note(note).text, ("x",))  # noqa: E731 short
    monkeypatch.setattr(ingest, "open_header_note", anybody)
    failed = drills.failed("tampered-bundle", "stale")
    assert "import refuses an exporter that was withdrawn" in failed["tampered-bundle"]
    assert not failed["stale"]


def test_a_program_that_heals_nothing_fails(
    drills: Drills, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.jobs.transfer.ingest_log.heal", lambda *_: 0)
    assert drills.failed("bit-rot")["bit-rot"]


def test_an_error_nobody_expected_is_a_failure_with_its_words(
    drills: Drills, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise StoreError("the disk is on fire")

    monkeypatch.setattr("appliance.jobs.drill.sites.sync", broken)
    code, out, _ = drills.run("--attack", "none")
    assert code == 3 and "the disk is on fire" in out
