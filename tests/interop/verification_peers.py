"""Programs of others that verify and stamp, as scripts/verification-peers builds them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def peer(name: str) -> str:
    """Return the path of one of them; skips, with its reason, where it could not be had."""
    directory = os.environ.get("ATTESTOR_VERIFICATION_PEERS", "")
    if not directory:
        pytest.skip(f"no {name}: scripts/verification-peers found no way to build it here")
    program = Path(directory) / name
    if not program.exists():
        pytest.skip(f"no {name} in {directory}: it did not build")
    return str(program)
