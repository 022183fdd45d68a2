"""Stand-ins for the machines of the Vagrantfile: bare Debian chroots in namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PROVISION: Final = ROOT / "scripts" / "provision"
SECONDS: Final = 300  # for one script, on a busy machine


def require_tools(*tools: str) -> None:
    """Skip, with the reason, where one of them is not installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; see scripts/provision/peers")


def require_root() -> None:
    """Skip, with the reason, where no machine can be made."""
    if os.geteuid() != 0:
        pytest.skip("chroots and mounts need root")
    tried = subprocess.run(
        ["unshare", "-n", "-m", "true"], check=False, capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"the kernel lets us make no namespaces: {tried.stderr.strip()}")


class Machine:
    """A bare Debian with a network that has nobody in it, or with none at all."""

    def __init__(self, root: Path, *, loopback: bool) -> None:
        self.root = root
        self.loopback = loopback
        (root / "media" / "stick").mkdir(parents=True, exist_ok=True)
        shutil.copytree(PROVISION, root / "opt" / "provision", dirs_exist_ok=True)

    def run(
        self,
        stick: Path,
        *words: str,
        environment: Mapping[str, str] | None = None,
        expect: int = 0,
    ) -> str:
        """Run a command there with the stick plugged in; return all it printed."""
        up = "ip link set lo up && " if self.loopback else ""
        inside = self.root / "media" / "stick"
        script = f'{up}mount --bind "{stick}" "{inside}" && exec chroot "{self.root}" "$@"'
        command = ["unshare", "-n", "-m", "sh", "-c", script, "sh", *words]
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
                "HOME": "/root",
                "ATTESTOR_STICK": "/media/stick",
                **(environment or {}),
            },
        )
        assert done.returncode == expect, done.stdout
        return done.stdout


class FatImage:
    """A stick as a file: FAT32, written and read with mtools, never mounted."""

    def __init__(self, path: Path, n_mebibytes: int = 64) -> None:
        self.path = path
        sectors = n_mebibytes * 2048
        self._mtools("mformat", "-C", "-F", "-c", "1", "-v", "STICK", "-T", str(sectors), "::")

    def write(self, files: Sequence[Path]) -> None:
        """Copy files onto it, over what is there."""
        self._mtools("mcopy", "-o", *map(str, files), "::")

    def read_all(self, directory: Path) -> list[Path]:
        """Copy everything that is on it into a directory."""
        self._mtools("mcopy", "-n", "-m", "::*", str(directory))
        return sorted(directory.iterdir())

    def _mtools(self, tool: str, *words: str) -> None:
        command = [tool, "-i", str(self.path), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
