"""scripts/lint-urls finds the address of a log in the source, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

LINT = Path(__file__).resolve().parent.parent / "scripts" / "lint-urls"


def lint(*directories: Path) -> tuple[int, str]:
    done = subprocess.run([LINT, *directories], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_source_names_no_log() -> None:
    code, told = lint()
    assert (code, told[:34]) == (0, "lint-urls: no address of a log in ")


@pytest.mark.parametrize(
    "planted",
    [
        'URL = "https://rekor.sigstore.dev"',
        'URL = "https://log2025-1.rekor.sigstore.dev/api/v2"',
        'HOST = "rekor.sigstore.dev"',
        "url = f\"https://{'log2025-1.rekor.sigstore.dev'}/\"",
        'URL = "http://rekor.internal.corp:3000/api/v1"',
        'URL = "https://192.0.2.7/"',
        'URL = "https://user@rekor.sigstage.dev/"',
        "# see https://rekor.sigstore.dev/api/v1/log",
        'POST = "https://example.com.evil.org/"',
        "attestor sync --origin-url rekor.sigstore.dev",
    ],
)
def test_a_planted_address_is_found(tmp_path: Path, planted: str) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "clean.py").write_text("x = 1\n")
    (tmp_path / "below" / "source.py").write_text(f'"""A module."""\n\n{planted}\n')
    code, told = lint(tmp_path)
    assert code == 1
    assert told.startswith(f"{tmp_path}/below/source.py:3: ")
    assert "clean.py" not in told


@pytest.mark.parametrize(
    "harmless",
    [
        'URL = "http://127.0.0.1:3000/api/v2"',
        'URL = "https://log.example.org/"',
        'URL = f"https://{host}:{port}/"',
        "attestor log signing-config --url https://LOG-HOST",
        "attestor checkpoint verify --origin log2025-1.rekor.sigstore.dev --tree-size 8",
        "see https://c2sp.org/tlog-tiles",
        'TYPE = "https://in-toto.io/Statement/v1"',
    ],
)
def test_names_and_examples_are_let_be(tmp_path: Path, harmless: str) -> None:
    (tmp_path / "source.py").write_text(harmless)
    assert lint(tmp_path)[0] == 0
