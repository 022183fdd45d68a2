"""A FAT32 stick between the sites: written with mtools, read back, imported without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.store.home.key_files import load_signing_key
from appliance.store.transfer.transfers import EXPORTER, add_exporter
from tests.cli.mirrored import MirroredHome
from tests.faults.sites import copied
from tests.faults.states import opened
from tests.faults.strace import environment
from tests.provision.machines import ROOT, FatImage, require_tools


def test_what_a_fat_stick_carries_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_tools("mformat", "mcopy", "unshare")
    outside = MirroredHome(tmp_path / "outside", capsys, "connected")
    inside = copied(outside.path, tmp_path / "inside")
    with opened(inside, write=True) as store:
        key = load_signing_key(inside, "site.example").verifier
        add_exporter(store, key, [EXPORTER], 0)
    outside.sync(300)
    written = tmp_path / "written"
    written.mkdir()
    names = [
        "site.example-20260101t000000z-0-300.v01of01.tar",
        "site.example-20260102t000000z-300-700.v01of01.tar.zst",
    ]
    outside.json("export", "--full", "--include-entries", "--output", written / names[0])
    outside.sync(400)
    words = ["--since-size", "300", "--include-entries"]
    outside.json("export", *words, "--output", written / names[1])
    stick = FatImage(tmp_path / "stick.img")
    stick.write(sorted(written.iterdir()))
    read = tmp_path / "read"
    read.mkdir()
    carried = stick.read_all(read)
    assert [path.name for path in carried] == names
    for path in carried:
        assert path.read_bytes() == (written / path.name).read_bytes()
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    command = [*unshare, sys.executable, "-m", "appliance.cli.main", "--home", str(inside)]
    done = subprocess.run(
        [*command, "import", *map(str, carried)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert "300 -> 700" in done.stdout
