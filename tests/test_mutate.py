"""scripts/mutate tells what no test notices, and a list that no longer fits the tree."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
QUORUM = "appliance/tlog/quorum.py"
COMPARED = "    if not policy.quorum_met([cosignature.key for cosignature in cosignatures]):"
GONE = "gone"
GOOD = {
    "name": "quorum",
    "file": QUORUM,
    "text": COMPARED,
    "replacement": "    if False:",
    "tests": ["tests/tlog/test_quorum.py::test_enough_witnesses_suffice"],
}


def mutate(*arguments: str | Path, tree: Path = ROOT) -> tuple[int, str, str]:
    command = [sys.executable, str(tree / "scripts" / "mutate"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def written(path: Path, *mutations: Mapping[str, object]) -> Path:
    blocks = (
        "\n".join(("[[mutation]]", *(f"{name} = {json.dumps(one[name])}" for name in one)))
        for one in mutations
    )
    path.write_text("\n".join(blocks))
    return path


def test_every_line_of_the_list_is_in_the_tree() -> None:
    code, told, faults = mutate("--list")
    assert (code, faults) == (0, "")
    assert len(told.splitlines()) >= 30


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"text": "    if policy.was_renamed():"}, "has its text 0 times, expected once"),
        ({"text": "raise RefusedError("}, "has its text 2 times, expected once"),
        ({"file": f"appliance/{GONE}.py"}, f"there is no appliance/{GONE}.py any more"),
        ({"replacement": "    if False"}, "is no Python"),
        ({"replacement": f"    # a remark\n{COMPARED}"}, "it changes nothing"),
        ({"tests": []}, "it names no test"),
        ({"tests": [f"tests/{GONE}.py"]}, f"there is no tests/{GONE}.py any more"),
        ({"tests": ["tests/tlog/test_quorum.py::test_gone"]}, "has no test_gone any more"),
    ],
)
def test_a_line_that_cannot_be_broken_is_named(
    tmp_path: Path, changed: dict[str, object], fault: str
) -> None:
    listed = written(tmp_path / "list.toml", GOOD | changed)
    for arguments in (["--list"], []):
        code, _, told = mutate("--from", listed, *arguments)
        assert (code, told.startswith("quorum: "), fault in told) == (1, True, True), told


def test_one_name_for_two_and_a_name_for_none_are_refused(tmp_path: Path) -> None:
    code, _, told = mutate("--from", written(tmp_path / "list.toml", GOOD, GOOD), "--list")
    assert (code, "quorum is there twice" in told) == (1, True)
    code, _, told = mutate("--only", "no-such-*")
    assert (code, "no mutation is called no-such-*" in told) == (1, True)


@pytest.mark.slow
def test_a_survivor_is_told_apart_from_what_is_killed_and_the_tree_stays_as_it_is(
    tmp_path: Path,
) -> None:
    before = (ROOT / QUORUM).read_bytes()
    unnoticed = GOOD | {"name": "message", "text": "get a newer proof", "replacement": "x"}
    broken = GOOD | {"name": "import", "text": "import SignedCheckpoint", "replacement": "import X"}
    code, told, _ = mutate("--from", written(tmp_path / "list", GOOD, unnoticed, broken))
    lines = told.splitlines()
    assert code == 1
    assert lines[0].startswith("quorum: killed (")
    assert lines[1].startswith(f"message: SURVIVED: {QUORUM}: 'get a newer proof': ")
    # A test that could not even be collected has judged nothing.
    assert lines[2].startswith("import: no answer: pytest ended with ")
    assert lines[3:] == ["1 of 3 killed"]
    assert (ROOT / QUORUM).read_bytes() == before


@pytest.mark.slow
def test_tests_that_fail_without_a_mutation_prove_nothing(tmp_path: Path) -> None:
    failing = GOOD | {"tests": ["tests/test_mutate.py::test_planted"]}
    # A tree of our own, because a failing test must not lie about in this one.
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=ignored)
    with (tree / "tests" / "test_mutate.py").open("a") as file:
        file.write("\n\ndef test_planted() -> None:\n    raise AssertionError\n")
    for arguments in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", "-C", str(tree), *arguments], check=True)
    code, told, why = mutate("--from", written(tmp_path / "list", failing), tree=tree)
    assert (code, told) == (1, "")
    assert "the tests fail before anything is broken" in why
