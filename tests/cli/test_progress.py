"""Progress is drawn on a terminal and nowhere else; colour where it means something."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from appliance.cli.progress import progress_text
from tests.verify.test_verify import Site

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (1200, None, 0.5, "blobs: 1,200"),
        (1200, None, 60.0, "blobs: 1,200, 20/s, 1m 0s"),
        (1200, 4800, 60.0, "blobs: 1,200 of 4,800 (25 %), 20/s, 3m 0s left"),
        (3, 3, 2.0, "blobs: 3 of 3 (100 %), 1.5/s, 2s"),
        (0, 3, 5.0, "blobs: 0 of 3 (0 %)"),
    ],
)
def test_what_the_line_says(done: int, total: int | None, seconds: float, text: str) -> None:
    assert progress_text("blobs", done, total, seconds) == text


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    site = Site(tmp_path, capsys)
    site.sync()
    return site


def typed(site: Site, *words: str | Path, on_terminal: bool, **more: str) -> tuple[str, str]:
    """Run a command as somebody types it; return stdout, and what the terminal or stderr got."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "appliance.cli.main",
        "--home",
        site.directory / "home",
    ]
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", **more}
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    got = b""

    def read() -> None:
        nonlocal got
        with contextlib.suppress(OSError):  # a terminal whose other end is gone
            while more := os.read(ours, 4096):
                got += more

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [*command, *words], stdout=subprocess.PIPE, stderr=theirs, env=environment, check=False
    )
    os.close(theirs)
    reader.join(10)
    os.close(ours)
    return done.stdout.decode(), got.decode()


def test_many_files_are_counted_on_a_terminal_and_nowhere_else(site: Site) -> None:
    words: list[str | Path] = [
        "verify",
        site.artifact,
        site.artifact,
        site.artifact,
        "--key",
        site.key,
    ]
    out, drawn = typed(site, *words, on_terminal=True)
    assert out.count(": VERIFIED\n") == 3
    assert "verify: 3 of 3 (100 %)" in drawn and drawn.startswith("\r\x1b[K")
    for quiet in ((False, ()), (True, ("-q",)), (True, ("--json",))):
        assert typed(site, *words, *quiet[1], on_terminal=quiet[0])[1] == "", quiet


def test_colour_is_for_terminals_and_those_who_ask(site: Site) -> None:
    words: list[str | Path] = ["verify", site.artifact, "--key", site.key]
    shown = f"{site.artifact}: \x1b[32mVERIFIED\x1b[0m\n"
    assert typed(site, *words, on_terminal=True)[0].startswith(f"{site.artifact}: VERIFIED\n")
    assert typed(site, "--color", "always", *words, on_terminal=False)[0].startswith(shown)
    missing: list[str | Path] = ["verify", "missing", "--key", site.key]
    assert "\x1b[31mError:\x1b[0m missing" in typed(site, *missing, on_terminal=True)[1]
    for setting in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert not re.search(r"\x1b\[3", typed(site, *missing, on_terminal=True, **setting)[1])
