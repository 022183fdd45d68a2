"""scripts/bench-queue in small. Wall time is the machine's affair: processor time is ours."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_MILLISECONDS = 6.0  # of processor time an item, the start included
LEAST_A_SECOND = 10.0  # this only says that it is no hang; wanted on a quiet machine: 200


@pytest.mark.alone
def test_an_item_costs_few_milliseconds_of_processor_time() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench_queue.py"), "--items", "400"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    rate = re.search(r"queue drain: ([0-9]+) items/s of 400", done.stdout)
    cost = re.search(r"([0-9.]+) ms of processor time each", done.stdout)
    assert rate, done.stdout
    assert cost, done.stdout
    assert float(cost[1]) <= MOST_MILLISECONDS, done.stdout
    assert float(rate[1]) >= LEAST_A_SECOND, done.stdout
