"""The programs that scripts/monitoring-peers takes out of Debian's packages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 120.0


def monitoring_peer(name: str) -> Path:
    """Return one program; skips the running test where there is none."""
    directory = os.environ.get("ATTESTOR_MONITORING_PEERS")
    if not directory:
        pytest.skip(
            f"{name} is not here: it comes out of Debian's packages, by scripts/monitoring-peers,"
            " which scripts/interop asks"
        )
    return Path(directory) / name


def ask(name: str, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one program to its end; what it says is on stdout, whichever stream it chose."""
    return subprocess.run(
        [monitoring_peer(name), *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
