"""scripts/bench-transfer in small: the log it makes is real, and so is what it measures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_a_small_bench_prints_every_ratio_and_keeps_only_its_log(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench_transfer.py"), str(tmp_path)]
    done = subprocess.run(
        [*command, "--tiles", "300", "--rounds", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("import --jobs 1", "import --jobs 2", "export"):
        found = re.search(rf"attestor {name} .* ([0-9.]+)x of tar .*wanted: 0\.", done.stdout)
        assert found, done.stdout
        # Starting Python is most of it in so small a run: this only says that it is no hang.
        assert float(found[1]) > 0.005, done.stdout
    [kept] = tmp_path.iterdir()
    assert kept.name.startswith("outside-300-")
