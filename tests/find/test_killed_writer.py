"""A writer of the index that is killed in the middle of a transaction: readers go on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.store.find.index import index_path
from appliance.store.find.views import Views
from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf

WHO = "release@example.com"
KILLED = """
import os, signal, sys
from pathlib import Path
from appliance.store.find.index import create_index
index = create_index(Path(sys.argv[1]))
index.connection.execute("PRAGMA cache_size = 2")
index.connection.execute("BEGIN IMMEDIATE")
rows = [(number, "x" * 500) for number in range(2000)]
index.connection.executemany("INSERT INTO opaque VALUES (?, ?)", rows)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    made = MirroredHome(tmp_path / "home", capsys, "connected")
    made.log.grow([leaf(WHO)])
    made.sync(0)
    made.json("index", "build")
    return made


def has_hot_journal(home: Path) -> bool:
    journal = Path(f"{index_path(home)}-journal")
    return journal.exists() and journal.stat().st_size > 0


def kill_writer(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(home)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert has_hot_journal(home)


@pytest.mark.parametrize(
    "command",
    [
        ("entries", "search", "--identity-exact", WHO),
        ("sql", "SELECT count(*) FROM v_opaque"),
        ("index", "status"),
        ("index", "check"),
    ],
)
def test_who_reads_rolls_back_what_a_killed_writer_left(
    home: MirroredHome, command: tuple[str, ...]
) -> None:
    before = home.json(*command)
    kill_writer(home.path)
    after = home.json(*command)
    assert after | {"nBytes": 0} == before | {"nBytes": 0}
    assert not has_hot_journal(home.path)


def test_a_writer_that_is_killed_while_a_statement_runs(home: MirroredHome) -> None:
    """A reader cannot roll back; the next run does."""
    views = Views(home.path)
    kill_writer(home.path)
    with pytest.raises(StoreError) as caught:
        views.run("SELECT count(*) FROM v_opaque", {}, max_rows=1, is_over=lambda: False)
    views.close()
    assert "run the command again" in caught.value.next_step
    assert home.json("sql", "SELECT count(*) FROM v_opaque")["rows"] == [[0]]
