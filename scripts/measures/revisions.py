"""Another revision of this program, to be measured beside this one."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from scripts.measures.shape import ROOT


def laid_out(revision: str, directory: Path) -> Path:
    """Lay the files of a revision out in a directory."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=False
    )
    if archive.returncode:
        raise SystemExit(f"git archive {revision}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    return directory
