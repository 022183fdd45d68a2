"""Situations from public reports, asked as their reporters would: the answer, its reason, its code.

The inputs are reference data (cases/verify); without them each case is skipped, by name. The table
is in reported_situations, with what cosign and sigstore-python say of the same files.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from tests.mirror.mirrors import NOW
from tests.shared import shared
from tests.verify.made_situations import MADE_SITUATIONS, lay_out_made
from tests.verify.reported_situations import CASES, RIGHT, lay_out


def test_no_case_is_left_out() -> None:
    there = {one.name for one in shared(CASES).iterdir() if one.is_dir()}
    assert there == set(RIGHT)


def test_every_difference_from_other_clients_has_its_reason() -> None:
    for name, right in RIGHT.items():
        differ = {right.cosign, right.sigstore_python} != {right.code == 0}
        assert bool(right.because) == differ, name

    for name, made in MADE_SITUATIONS.items():
        differ = {made.cosign, made.sigstore_python} != {made.code == 0}
        assert bool(made.because) == differ, name


@pytest.mark.parametrize("name", list(MADE_SITUATIONS))
def test_the_answer_to_a_made_situation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, args = MADE_SITUATIONS[name], lay_out_made(name, tmp_path)
    monkeypatch.chdir(tmp_path)
    code = run([*args, "--json"], Session(home=tmp_path / "home", now=lambda: NOW))
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer.get("error", {"reason": ""})["reason"]) == (made.code, made.reason)


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_the_answer_to_a_reported_situation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = RIGHT[name]
    case = lay_out(name, tmp_path)
    monkeypatch.chdir(tmp_path)

    def ask(*more: str) -> tuple[int, str, str]:
        session = Session(home=tmp_path / "home", now=lambda: NOW)
        code = run([*case["args"], *more], session)
        return (code, *capsys.readouterr())

    code, out, err = ask()
    assert code == right.code
    if code == 0:
        assert ": VERIFIED" in out
        assert right.words in err
    else:
        assert right.words in err
        assert err.count("\n") == 1
    code, out, _ = ask("--json")
    answer = json.loads(out)
    reason = answer["error"]["reason"] if "error" in answer else ""
    assert (code, reason) == (right.code, right.reason)
    # What the reporters wrote down, where they wrote it down.
    assert case["right"] in (None, code == 0)
    assert case["rc"] in (None, code)
    if case["reason"] is not None and code != 0:
        assert case["reason"] == reason
    if right.allow:
        code, out, _ = ask(right.allow)
        assert code == 0
        assert ": VERIFIED" in out
