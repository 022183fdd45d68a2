"""Progress is drawn on a terminal and nowhere else; colour where it means something."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from appliance.cli.main import cli
from appliance.cli.progress import progress_bar, progress_text
from tests.cli.homes import Home
from tests.cli.mirrored import MirroredHome
from tests.queue.queues import add, new_store
from tests.queue.simulated_server import SimulatedServer, drain
from tests.simulator import SimulatedLog
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
        (5, 3, 0.5, "blobs: 5 of 3 (100 %)"),
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
    environment = {key: value for key, value in os.environ.items() if "COLOR" not in key}
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


def test_a_program_that_watches_gets_one_object_a_line_also_with_json(site: Site) -> None:
    words: list[str | Path] = ["verify", site.artifact, site.artifact, "--key", site.key, "--json"]
    out, err = typed(site, "--progress", "json", *words, on_terminal=False)
    assert json.loads(out)["ok"] is True
    lines = [json.loads(line) for line in err.splitlines()]
    assert {one["type"] for one in lines} == {"progress"}
    expected = {"what": "verify", "done": 2, "total": 2, "unit": "items"}
    assert {name: lines[-1][name] for name in expected} == expected
    assert typed(site, "--progress", "never", *words[:-1], on_terminal=True)[1] == ""


class Screen:
    """A terminal for stderr of commands that run here; what it got, in order."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.stderr = os.fdopen(theirs, "w")
        self._got = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is gone
            while more := os.read(self._ours, 4096):
                self._got += more

    def text(self) -> str:
        """Close it, and return what it showed."""
        self.stderr.close()
        self._reader.join(10)
        os.close(self._ours)
        return self._got.decode()


@contextlib.contextmanager
def on_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let stderr be a terminal; yields a list that has its text afterwards."""
    screen, shown = Screen(), list[str]()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", screen.stderr)
        try:
            yield shown
        finally:
            shown.append(screen.text())


def test_what_takes_long_says_how_much_of_how_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = MirroredHome(tmp_path / "outside", capsys, "connected")
    outside.sync(300)
    log, files = outside.log, tmp_path / "files"
    key = tmp_path / "log.pem"
    key.write_bytes(log.key.spki)
    other = Home(tmp_path / "other", capsys)
    inside = Home(tmp_path / "inside", capsys)
    for home, url in ((other, ("--url", files.as_uri())), (inside, ())):
        added = home.run(
            *("backend", "add", "sim", "--origin", log.origin, "--public-key", key, *url)
        )
        assert added[0] == 0, added
    exporter = outside.run("key", "show", "site.example")[1].strip()
    assert inside.run("exporters", "add", exporter)[0] == 0
    stick = tmp_path / "stick.tar"
    told: dict[str, tuple[Home, list[str | Path], str]] = {
        "publish": (outside, ["tiles", "publish", files], "publish, entry bundles: 2 of 2 (100 %)"),
        "sync": (other, ["sync", "--full-tiles", "--entries"], "sync sim, tiles: 1 of 1 (100 %)"),
        "export": (
            outside,
            ["export", "--include-entries", "--output", stick],
            "export, stick.tar: ",
        ),
        "import": (inside, ["import", stick], "import stick.tar, entry bundles: 2 of 2 (100 %)"),
        "audit": (inside, ["tiles", "verify", "--full"], f"audit {log.origin}, tiles: 1 of 1"),
        "check": (inside, ["store", "check", "--read-data"], "check, blobs: "),
    }
    for name, (home, words, expected) in told.items():
        with on_screen(monkeypatch) as shown:
            assert home.run(*words)[0] == 0, (name, shown)
        assert expected in shown[0], (name, shown)
        assert "(100 %)" in shown[0].rpartition("\r\x1b[K")[2], (name, shown)
        assert home.run(*words)[2].count("\x1b") == 0, name


def test_colour_is_for_terminals_and_those_who_ask(site: Site) -> None:
    words: list[str | Path] = ["verify", site.artifact, "--key", site.key]
    shown = f"{site.artifact}: \x1b[32mVERIFIED\x1b[0m\n"
    assert typed(site, *words, on_terminal=True)[0].startswith(f"{site.artifact}: VERIFIED\n")
    assert typed(site, "--color", "always", *words, on_terminal=False)[0].startswith(shown)
    forced = {"CLICOLOR_FORCE": "1"}
    assert typed(site, *words, on_terminal=False, **forced)[0].startswith(shown)
    for less in ({"CLICOLOR_FORCE": "0"}, {**forced, "NO_COLOR": "1"}):
        assert "\x1b" not in typed(site, *words, on_terminal=False, **less)[0]
    missing: list[str | Path] = ["verify", "missing", "--key", site.key]
    assert "\x1b[31mError:\x1b[0m missing" in typed(site, *missing, on_terminal=True)[1]
    for setting in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert not re.search(r"\x1b\[3", typed(site, *missing, on_terminal=True, **setting)[1])


def test_a_drain_counts_what_has_left_the_queue_and_a_large_file_its_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SimulatedLog()
    store = new_store(tmp_path / "home", log)
    for number in range(5):
        add(store, b"%d" % number)
    with on_screen(monkeypatch) as shown, click.Context(cli), progress_bar("drain") as progress:
        report = drain(store, SimulatedServer(log), until_empty=True, progress=progress)
    store.close()
    assert report.logged == 5
    assert "drain, items: 0 of 5 (0 %)" in shown[0]
    assert "drain, items: 5 of 5 (100 %)" in shown[0].rpartition("\r\x1b[K")[2]

    site = Site(tmp_path, capsys)
    monkeypatch.setattr("appliance.runs.verify._LARGE_BYTES", site.artifact.stat().st_size)
    with on_screen(monkeypatch) as shown:
        assert site.run("verify", site.artifact, "--key", site.key)[0] == 0
    size = f"{site.artifact.stat().st_size} B"
    assert f"verify, hashing app.bin: {size} of {size} (100 %)" in shown[0]
