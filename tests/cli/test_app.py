"""The world of a command: locks, schemas brought up to date, signals and pipes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.errors import LockedError, StoreError
from appliance.runs.session import Session
from appliance.store import database, schema
from appliance.store.database import create_store, open_store
from appliance.store.schema import MIGRATIONS

ROOT = Path(__file__).resolve().parents[2]
START = "from appliance.cli.main import main; main()"


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        # A shell's background job, which these tests may run in, ignores interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home as it was made before the newest migration."""
    with monkeypatch.context() as patch:
        for module in (schema, database):
            patch.setattr(module, "MIGRATIONS", MIGRATIONS[:-1])
        create_store(tmp_path / "home").close()
    return tmp_path / "home"


def test_a_writer_brings_an_older_schema_up_to_date(older: Path) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(older, write=False)
    assert caught.value.reason == "schema-older"
    with Session(home=older).writing():
        pass
    open_store(older, write=False).close()


def test_a_writer_leaves_an_older_schema_alone_when_told_to(older: Path) -> None:
    with closing(sqlite3.connect(older / "attestor.db")) as connection, connection:
        connection.execute(
            "INSERT INTO setting VALUES ('checkpointStore.autoInitializeSchema', 'false')"
        )
    for _ in range(2):
        with pytest.raises(StoreError) as caught, Session(home=older).writing():
            pass
        assert caught.value.reason == "schema-older"


def test_a_second_writer_waits_as_long_as_it_may(tmp_path: Path) -> None:
    create_store(tmp_path / "home").close()
    waited: list[float] = []
    app = Session(home=tmp_path / "home", lock_wait=1.0, sleep=waited.append)
    with app.locked(), pytest.raises(LockedError), app.locked():
        pass
    assert 0.9 < sum(waited) < 1.2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_watching_sync_with_its_code(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    assert run(["--home", str(tmp_path / "home"), "init", "--site", "a.example", "-q"]) == 0
    process = start("--home", tmp_path / "home", "sync", "--watch", "--initial-delay", "1h")
    time.sleep(1.5)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in err


def test_a_reader_that_goes_away_ends_us_quietly() -> None:
    process = start("verify", "--help")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) == 141
    assert err == ""


def test_json_is_one_object_also_for_an_unknown_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["no-such-command", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "usage"


def test_a_home_that_is_not_there_is_named_with_the_command_that_makes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["sync"], ["sync-status"], ["export", "--output", str(tmp_path / "x.tar")]):
        assert run(["--home", str(tmp_path / "nowhere"), *command]) == 6
        err = capsys.readouterr().err
        assert "attestor" in err and "init" in err and err.count("\n") == 1
