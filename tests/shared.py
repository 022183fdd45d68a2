"""Reference data that is not ours: read from a directory beside the clone, never committed.

ATTESTOR_REFERENCE_DATA names another directory. Whoever has none sees each test that needed
it skipped, with the path that was missing.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

BESIDE = Path(__file__).resolve().parents[2] / "shared"
SHARED = Path(os.environ.get("ATTESTOR_REFERENCE_DATA") or BESIDE)


def shared(path: str) -> Path:
    """Return a file or directory of the reference data; skips the running test if it is absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(_absent(path))
    return found


def shared_cases(directory: str, pattern: str) -> list[ParameterSet]:
    """List files below a directory as parameters, each named by its path; one skip if absent."""
    root = SHARED / directory
    files = sorted(root.glob(pattern))
    if not files:
        absent = pytest.mark.skip(reason=_absent(f"{directory}/{pattern}"))
        return [pytest.param(None, id="absent", marks=absent)]
    return [pytest.param(file, id=str(file.relative_to(root))) for file in files]


@cache
def vectors() -> Any:
    """Return the reference vectors; skips the running test if it is absent."""
    return json.loads(shared("vectors/vectors.json").read_bytes())


def _absent(path: str) -> str:
    return f"reference data is absent: {SHARED / path}"
