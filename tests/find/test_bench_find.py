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
        [*command, "--entries", "700", "--rounds", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: something was missed
    hits = dict(re.findall(r"search by (.*?) +[0-9.,]+ ms +- +\(([0-9.]+) hits", done.stdout))
    assert hits.pop("digest that is not there") == "0", done.stdout
    assert len(hits) == 5 and all(float(one) >= 1 for one in hits.values()), done.stdout
    judged = re.findall(r"^  (\S.*?) {2,}.* (met|missed|-)(?:  \(|$)", done.stdout, re.MULTILINE)
    verdicts = [verdict for _, verdict in judged]
    assert verdicts.count("met") + verdicts.count("missed") >= 11, done.stdout
    assert verdicts.count("missed") == int(done.stdout.splitlines()[-1].split()[0])
    assert re.search(r"new watch, all of the past .*\([1-9]", done.stdout), done.stdout
    assert bool(done.returncode) == ("missed" in verdicts)
