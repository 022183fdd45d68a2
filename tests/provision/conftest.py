"""The offline kit of this commit, made once for all tests that install it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the kit, one tar file; skips where none can be made."""
    directory = tmp_path_factory.mktemp("kit")
    command = [ROOT / "scripts" / "offline-kit", directory]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no kit can be made here: {done.stderr.strip()[-300:]}")
    [made] = directory.iterdir()
    return made
