"""The short form of scripts/bench: every subject, none a third dearer than it was.

Not where ATTESTOR_SHORT is set: other tests run beside it there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench import MEASURES

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = {f"P{number}" for number in range(1, 13)}

pytestmark = pytest.mark.interop


@pytest.mark.skipif("ATTESTOR_SHORT" in os.environ, reason="it measures: by hand, quietly")
def test_nothing_is_a_third_dearer_than_it_was() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bench.py"), "--short", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.stdout, done.stderr
    values = json.loads(done.stdout)["values"]
    missed = [one for one in values if one["verdict"] == "missed"]
    assert (done.returncode, missed) == (0, []), done.stdout
    assert {one["subject"] for one in values} == MEASURES.keys()
    assert any(one["verdict"] == "met" for one in values)
