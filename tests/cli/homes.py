"""A home, and commands run on it as a script would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.jobs.home.init import init_home
from appliance.runs.session import Session

NOW = 1_760_000_000


class Home:
    """A home in a temporary directory."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], role: str = "connected"
    ) -> None:
        self.path = path
        self.capsys = capsys
        self.app = Session(home=path, now=lambda: NOW, random_bytes=lambda n: b"\x07" * n)
        init_home(path, "site.example", role, lambda n: b"\x01" * n)

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run a command; return its exit code, stdout and stderr."""
        code = run([str(one) for one in arguments], self.app)
        out, err = self.capsys.readouterr()
        return code, out, err

    def json(self, *arguments: str | Path, expect: int = 0) -> Any:
        """Run a command with --json; return its data, or its error if one is expected."""
        code, out, err = self.run(*arguments, "--json")
        assert code == expect, out + err
        answer = json.loads(out)
        assert (answer["exitCode"], err) == (expect, "")
        return answer["error"] if expect else answer["data"]
