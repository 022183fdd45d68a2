"""What is handed out is whole: the sdist, the kit's scripts, the image's recipe."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("no clone: there is no list of what belongs to it")
    return done.stdout.splitlines()


def test_the_sdist_has_every_file_of_the_clone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in tracked():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = "from setuptools import build_meta; print(build_meta.build_sdist('..'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [made] = tmp_path.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    ours = {name for name in tracked() if not name.startswith(".") and (ROOT / name).is_file()}
    assert ours - packed == set()


@pytest.mark.parametrize(
    "script", ["kit/install.sh", "kit/verify-transfer", "offline-kit", "debian"]
)
def test_a_script_is_shell_and_can_be_run(script: str) -> None:
    path = ROOT / "scripts" / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", path], check=True)


def test_the_image_is_made_of_what_a_kit_is_called() -> None:
    recipe = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    words = {line.split(" ")[0] for line in recipe.split("\n") if line and line[0] not in "#"}
    assert words == {"FROM", "RUN", "COPY", "USER", "ENV", "VOLUME", "ENTRYPOINT", "CMD"}
    for line in re.findall(r"(?m)^RUN (.*)$", recipe):
        subprocess.run(["sh", "-n", "-c", line], check=True)
    made = (ROOT / "scripts" / "offline-kit").read_text()
    assert "name=attestor-offline-kit-$version-py$python-$machine" in made
    assert "COPY attestor-offline-kit-*-py3.11-*.tar /tmp/kit/" in recipe
    assert re.search(r"(?m)^USER attestor$", recipe)
