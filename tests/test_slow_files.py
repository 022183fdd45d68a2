"""scripts/test --fast leaves out what is listed, and what is listed is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTED = ROOT / "tests" / "slow_files.txt"


def test_each_listed_file_is_there_once_with_its_seconds_the_slowest_first() -> None:
    lines = [line for line in LISTED.read_text().splitlines() if not line.startswith("#")]
    rows = [re.fullmatch(r" *([0-9]+) {2}(tests/\S+\.py)", line) for line in lines]
    assert None not in rows, lines
    found = [(int(row[1]), row[2]) for row in rows if row]
    assert [path for _, path in found if not (ROOT / path).is_file()] == []
    assert len({path for _, path in found}) == len(found) > 10
    assert [seconds for seconds, _ in found] == sorted((one for one, _ in found), reverse=True)
