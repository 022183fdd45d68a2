"""scripts/lint-references finds what leads nowhere, and lets everything else be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = ROOT / "scripts" / "lint-references"
# In pieces, so that this file itself refers to nothing that is not there.
MD, BESIDE, MOVED = ".md", "../" + "shared", "appliance." + "jobs.absorb.relate"


def lint(*files: Path) -> tuple[int, str]:
    done = subprocess.run([LINT, *files], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_every_reference_of_the_project_leads_somewhere() -> None:
    code, told = lint()
    assert code == 0, told
    assert "every reference leads somewhere" in told


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        (f"# as ROADMAP{MD} section 7 has it", f"ROADMAP{MD} is not in the project"),
        ("(SPEC section 5)", "a section of SPEC"),
        ("Sigstore step (VERIFY step 12)", "a section of VERIFY"),
        (f"see [the rules](docs/no-such{MD})", f"docs/no-such{MD} is not in the project"),
        ("see docs/runbook.md#no-such-heading", "no heading #no-such-heading"),
        ("kept out (DESIGN.md, No such heading)", "no heading 'No such heading'"),
        (f"read through {BESIDE}, never committed", "a directory beside the clone"),
        ("decided in jobs/no_such_room/absorb.py", "jobs/no_such_room/absorb.py is not"),
        (f'monkeypatch.setattr("{MOVED}", 1)', "is no module of the project"),
        ("run scripts/no-such-script.", "scripts/no-such-script is not in the project"),
        ("`tests/no_such_folder` has them", "tests/no_such_folder is not in the project"),
    ],
)
def test_a_planted_reference_is_found(tmp_path: Path, planted: str, named: str) -> None:
    source = tmp_path / "source.py"
    source.write_text(f'"""A module.\n\n{planted}\n"""\n')
    code, told = lint(source)
    assert code == 1
    assert told.startswith(f"{source}:3: ")
    assert named in told


@pytest.mark.parametrize(
    "harmless",
    [
        "see docs/runbook.md#where-to-start and DESIGN.md invariant 7 (DESIGN.md, The store)",
        "RFC 9162 section 2.1.3.2, c2sp.org/signed-note",
        "scripts/systemd/attestor-*.service, tests/<room>/test_NAME.py, docs/{one,other}.md",
        "the arrows are held by tests/test_layers.py; the rules by policy/divergence.py.",
        "run scripts/test, then scripts/interop.",
        "README.md",
        "appliance.jobs.mirror.absorb.relate, appliance.errors, appliance.__version__",
    ],
)
def test_what_is_there_is_let_be(tmp_path: Path, harmless: str) -> None:
    (tmp_path / "source.txt").write_text(harmless)
    assert lint(tmp_path / "source.txt") == (
        0,
        "lint-references: 1 files, every reference leads somewhere\n",
    )
