"""Scripted lives: long honest sequences whose right result is known at every step.

Three short ones here. By hand, as long and as many as wanted:

    ATTESTOR_LIVES=1-20 ATTESTOR_STEPS=60 pytest tests/lives -n 0
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.divergence.conftest import MEMORY
from tests.lives.life import Life, log_server

FIRST, _, LAST = os.environ.get("ATTESTOR_LIVES", "1-3").partition("-")
STEPS = int(os.environ.get("ATTESTOR_STEPS", "8"))


@pytest.mark.parametrize("seed", range(int(FIRST), int(LAST or FIRST) + 1))
def test_a_life(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as directory, log_server() as served:
        life = Life(Path(directory), capsys, seed, served)
        for _ in range(STEPS):
            life.step()
        life.end()
