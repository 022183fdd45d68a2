"""Two homes that were made before: making them takes as long as a random life in them."""

from __future__ import annotations

import io
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.mirror.mirrors import NOW
from tests.simulator import SimulatedLog
from tests.transfer.sites import INSIDE, OUTSIDE, Sites


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both homes as they begin: making them takes as long as a life."""
    directory = tmp_path_factory.mktemp("template")
    out = io.StringIO()
    with redirect_stdout(out):
        Sites(directory, _Printed(out))  # type: ignore[arg-type]
    return directory


class _Printed:
    """What was printed since it was asked last, as capsys has it."""

    def __init__(self, out: io.StringIO) -> None:
        self.out = out

    def readouterr(self) -> tuple[str, str]:
        text = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        return text, ""


class CopiedSites(Sites):
    """Sites whose homes were made before."""

    def __init__(self, template: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self.capsys = directory, capsys
        self.log, self.now, self.keys = SimulatedLog(), NOW, {}
        for name in (OUTSIDE, INSIDE):
            shutil.copytree(template / name, self.home(name))
