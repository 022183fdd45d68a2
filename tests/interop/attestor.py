"""The appliance, the way its users have it: the attestor command in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("attestor")
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Site:
    """One home of the appliance."""

    home: Path

    def run(
        self, *arguments: str | Path, expect: int = 0, seconds: float = TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        """Run one command with --json; return what it answered as `data`."""
        ran = subprocess.run(
            [COMMAND, "--home", self.home, *arguments, "--json"],
            capture_output=True,
            timeout=seconds,
        )
        said = ran.stdout.decode() + ran.stderr.decode()
        assert ran.returncode == expect, f"expected {expect}, got {ran.returncode}: {said}"
        answer: dict[str, Any] = json.loads(ran.stdout)
        assert answer["exitCode"] == expect
        data: dict[str, Any] = answer["data"]
        return data
