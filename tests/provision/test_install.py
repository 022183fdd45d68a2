"""The kit installs, repairs, upgrades and goes again, as any user and with python3 alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from appliance.version import __version__

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.interop


class Place:
    """An unpacked kit, and where it installs to."""

    def __init__(self, directory: Path, kit: Path) -> None:
        self.directory = directory
        with tarfile.open(kit) as archive:
            archive.extractall(directory / "kit", filter="tar")
        [self.kit] = (directory / "kit").iterdir()
        self.prefix, self.bin = directory / "opt", directory / "usr" / "bin"
        self.share = directory / "usr" / "share"

    def run(self, *words: str, expect: int = 0) -> str:
        """Run install.sh with a hostile environment; return what it said."""
        places = ("--prefix", str(self.prefix), "--bin", str(self.bin))
        done = subprocess.run(
            [str(self.kit / "install.sh"), *places, *words],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "/nowhere", "PIP_INDEX_URL": "x"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stderr
        return done.stderr

    def version(self) -> str:
        """Return what the installed command says of itself."""
        command = [str(self.bin / "attestor"), "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def place(tmp_path: Path, kit: Path) -> Place:
    wanted = "-py3.11-"
    if wanted not in kit.name or not Path("/usr/bin/python3.11").exists():
        pytest.skip("the kit is for Debian 12's Python 3.11, which is not here")
    return Place(tmp_path, kit)


def test_it_installs_repairs_and_goes_again(place: Place) -> None:
    place.run()
    assert place.version() == f"attestor, version {__version__}\n"
    assert (place.share / "man/man1/attestor-verify.1").resolve().is_file()
    assert (place.share / "bash-completion/completions/attestor").resolve().is_file()
    kept = place.prefix / "current" / "share"
    documents = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert documents <= {path.name for path in (kept / "doc" / "docs").iterdir()}
    assert (kept / "doc" / "CHANGELOG.md").is_file()
    assert (kept / "systemd" / "attestor-sync.service").is_file()
    for name in ("cron/attestor", "monitoring/attestor.rules.yml", "systemd/attestor.sysusers"):
        assert (kept / name).is_file(), name
    modes = {path.stat().st_mode & 0o022 for path in place.prefix.rglob("*")}
    assert modes == {0}  # whatever the umask was
    assert "repairing" not in place.run()
    [damaged] = (place.prefix / "current" / "lib").glob("python3*/site-packages/appliance/times.py")
    damaged.write_text("raise SystemExit(99)")
    assert "repairing" in place.run() and place.version()
    shutil.rmtree(damaged.parent)
    assert "repairing" in place.run() and place.version()
    place.run("--uninstall")
    left = [path for path in place.directory.rglob("*") if "attestor" in path.name]
    assert [path for path in left if place.kit.parent not in path.parents] == []


def test_what_is_not_ours_stays(place: Place) -> None:
    place.run()
    (place.prefix / "notes.txt").write_text("mine")
    (place.bin / "other").write_text("mine")
    assert "something else in it" in place.run("--uninstall")
    assert (place.prefix / "notes.txt").exists() and (place.bin / "other").exists()


@pytest.mark.parametrize("harm", ["changed", "added", "missing"])
def test_a_kit_that_is_not_as_it_was_made_installs_nothing(place: Place, harm: str) -> None:
    victim = place.kit / "README"
    if harm == "changed":
        victim.write_text("other")
    elif harm == "added":
        (place.kit / "wheels" / "more.whl").write_text("x")
    else:
        victim.unlink()
    assert "this kit is damaged" in place.run(expect=1)
    assert not (place.bin / "attestor").exists()


@pytest.mark.skipif("ATTESTOR_SHORT" in os.environ, reason="minutes: the long form has it")
def test_a_debian_package_is_made_of_it_and_lintian_is_silent(kit: Path, tmp_path: Path) -> None:
    for tool in ("dpkg-deb", "lintian"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")
    command = [ROOT / "scripts" / "debian", kit, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [made] = tmp_path.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", made, tmp_path / "root"], check=True)
    listed = subprocess.run(["dpkg-deb", "-c", made], capture_output=True, text=True, check=True)
    for name in ("usr/bin/attestor", "usr/share/man/man1/attestor.1.gz"):
        assert f"./{name}\n" in listed.stdout
    if (sys.version_info.major, sys.version_info.minor) == (3, 11):
        code = "import runpy, sys; sys.argv = ['attestor', '--version'];"
        code += f"sys.path.insert(0, {str(tmp_path / 'root/usr/lib/attestor')!r});"
        code += "from appliance.cli.main import main; main()"
        said = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", code], capture_output=True, text=True, check=True
        )
        assert said.stdout == f"attestor, version {__version__}\n", os.environ["PATH"]
