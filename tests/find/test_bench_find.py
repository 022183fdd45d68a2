"""scripts/bench-find in small: the log it makes is real, and so is what it measures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_small_bench_finds_what_it_made(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench_find.py"), str(tmp_path)]
    done = subprocess.run(
        [*command, "--entries", "700", "--rounds", "3", "--rescan"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    hits = dict(re.findall(r"search by (.*): [0-9.,]+ ms, ([0-9.]+) hits", done.stdout))
    assert hits.pop("digest that is not there") == "0", done.stdout
    assert len(hits) == 5 and all(float(one) >= 1 for one in hits.values()), done.stdout
    assert re.search(r"index: [0-9]+ bytes an entry, [0-9.]+x", done.stdout)
    assert "search by digest that reads everything" in done.stdout
    assert re.search(r"a new watch over all of the past: [0-9,]+ ms, [1-9]", done.stdout)
    assert re.search(r"[0-9]+ us an entry with one watch, [0-9]+ with 100", done.stdout)
