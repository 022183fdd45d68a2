"""init, checkpoint-store, store and doctor, as scripts call them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from tests.cli.homes import NOW, Home
from tests.cli.mirrored import MirroredHome
from tests.store.test_integrity import damage_a_page


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    made = MirroredHome(tmp_path / "home", capsys, "connected")
    made.sync(300)
    return made


def database_rows(home: Home, table: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(home.path / "attestor.db")
    try:
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 fixed names
    finally:
        connection.close()
    return sorted(rows, key=repr)


def a_blob(home: Home) -> Path:
    return next(path for path in (home.path / "blobs").rglob("*") if path.is_file())


# --- init


def test_init_makes_a_home_a_name_and_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Session(
        home=tmp_path / "new" / "home", now=lambda: NOW, random_bytes=lambda n: b"\x05" * n
    )
    code = run(["init", "--site", "outside.example"], app)
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    vkey = out.rstrip("\n").rpartition(" ")[2]
    assert out.startswith(f"{app.home}: site outside.example, connected\nkey outside.example+")
    key = app.home / "keys" / "outside.example.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert run(["key", "show", "outside.example"], app) == 0
    assert vkey in capsys.readouterr().out


def test_init_again_is_harmless(home: MirroredHome) -> None:
    before = {name: database_rows(home, name) for name in ("setting", "checkpoint", "tile")}
    key = (home.path / "keys" / "site.example.key").read_bytes()
    for arguments in (["init"], ["init", "--site", "site.example"], ["checkpoint-store", "init"]):
        data = home.json(*arguments)
        assert (data["site"], data["role"], data["newKey"]) == ("site.example", "connected", False)
    assert {name: database_rows(home, name) for name in before} == before
    assert (home.path / "keys" / "site.example.key").read_bytes() == key


def test_init_changes_the_role_and_never_the_name(home: MirroredHome) -> None:
    assert home.json("init", "--role", "isolated")["role"] == "isolated"
    assert home.json("init")["role"] == "isolated"
    error = home.json("init", "--site", "other.example", expect=9)
    assert error["reason"] == "site-name"
    assert not (home.path / "keys" / "other.example.key").exists()


@pytest.mark.parametrize("name", ["", "../evil", "a b", ".hidden", "x" * 101])
def test_a_site_name_that_is_no_file_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    app = Session(home=tmp_path / "home")
    assert run(["init", "--site", name, "--json"], app) == 2
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "key-name"


def test_a_home_without_a_name_can_be_named_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Session(home=tmp_path / "home")
    assert run(["init"], app) == 0
    assert "without a name" in capsys.readouterr().out
    assert run(["init", "--site", "late.example"], app) == 0
    assert "key late.example+" in capsys.readouterr().out


def test_a_home_that_cannot_be_is_a_store_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(["init", "--json"], Session(home=tmp_path / "file" / "home")) == 6
    assert json.loads(capsys.readouterr().out)["ok"] is False


# --- checkpoint-store


def test_force_gives_back_the_schema_keeps_every_row_and_saves_a_backup(
    home: MirroredHome,
) -> None:
    tables = ("log", "log_key", "backend", "checkpoint", "checkpoint_note", "tile", "setting")
    before = {name: database_rows(home, name) for name in tables}
    connection = sqlite3.connect(home.path / "attestor.db")
    connection.execute("DROP VIEW rekor_checkpoints")
    connection.commit()
    connection.close()
    assert home.json("checkpoint-store", "test", expect=6)["reason"] == "schema-changed"
    data = home.json("checkpoint-store", "init", "--force")
    assert Path(data["backup"]).is_file()
    assert data["carriedRows"]["tile"] == len(before["tile"]) > 0
    assert {name: database_rows(home, name) for name in tables} == before
    home.json("checkpoint-store", "test")
    home.json("store", "check", "--read-data")
    assert home.json("checkpoint-store", "init", "--force", expect=6)["reason"] == "file-exists"


def test_force_on_nothing_is_init(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = Session(home=tmp_path / "home")
    assert run(["checkpoint-store", "init", "--force", "--site", "a.example"], app) == 0
    assert "backup" not in capsys.readouterr().out


def test_connection_may_only_name_this_home_s_own_file(home: MirroredHome) -> None:
    own = home.path / "attestor.db"
    home.json("checkpoint-store", "init", "--connection", own)
    for other in ("/elsewhere/attestor.db", "postgresql://db/x", "Host=db;Database=x"):
        error = home.json("checkpoint-store", "init", "--connection", other, expect=9)
        assert error["reason"] == "connection"
    assert "PostgreSQL" in error["message"]


def test_test_says_what_is_well(home: MirroredHome) -> None:
    code, out, err = home.run("checkpoint-store", "test")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["journal", "ok"],
        ["database", "ok"],
        ["schema", "ok"],
        ["history", "ok"],
        ["custody", "ok"],
        ["blobs", "ok"],
        ["room", "ok"],
    ]


def test_test_and_doctor_fail_on_a_damaged_database(home: MirroredHome) -> None:
    home.json("config", "set", "alerts.stream", "x" * 100)
    raw = bytearray((home.path / "attestor.db").read_bytes())
    page = raw.index(b"x" * 100) // 4096 * 4096
    raw[page : page + 64] = b"\xff" * 64
    (home.path / "attestor.db").write_bytes(raw)
    for command in (["checkpoint-store", "test"], ["doctor"], ["store", "check"]):
        assert home.json(*command, expect=6)["reason"] == "corrupt"


# --- store backup


def test_a_backup_is_a_database_that_opens(home: MirroredHome, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    data = home.json("store", "backup", target)
    assert data == {
        "path": str(target),
        "bytes": target.stat().st_size,
        "blobs": None,
        "keys": None,
        "damaged": [],
    }
    assert target.stat().st_mode & 0o777 == 0o600
    assert home.json("store", "backup", target, expect=6)["reason"] == "file-exists"


def test_a_backup_with_everything_is_restored_by_copying_it(
    home: MirroredHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "backup"
    code, out, err = home.run("store", "backup", target, "--with-blobs", "--with-keys")
    assert (code, err) == (0, "")
    assert out.startswith(f"Wrote {target}: database ") and ", 5 blobs, 1 key files" in out
    vkey = home.json("key", "show", "site.example")["vkey"]
    shutil.copytree(target, tmp_path / "restored")
    restored = Session(home=tmp_path / "restored", now=lambda: NOW)
    for command in (
        ["store", "check", "--read-data"],
        ["checkpoints", "verify", "--backend", "sim"],
        ["init", "--site", "site.example"],
        ["doctor"],
    ):
        assert run(command, restored) == 0, capsys.readouterr()
    assert f"key {vkey}" in capsys.readouterr().out


def test_a_backup_is_made_while_another_run_holds_the_lock(
    home: MirroredHome, tmp_path: Path
) -> None:
    with Locked(home):
        home.json("store", "backup", tmp_path / "b.db")
        error = home.json("store", "backup", tmp_path / "b", "--with-keys", expect=75)
    assert error["reason"] == "locked"
    assert not (tmp_path / "b").exists()


def test_a_backup_with_a_damaged_blob_is_made_and_says_so(
    home: MirroredHome, tmp_path: Path
) -> None:
    a_blob(home).write_bytes(b"rot")
    error = home.json("store", "backup", tmp_path / "b", "--with-blobs", expect=6)
    assert error["reason"] == "corrupt"
    assert "of log.example" in error["message"]
    assert (tmp_path / "b" / "attestor.db").is_file()


class Locked:
    """Another run that holds the home's lock."""

    def __init__(self, home: Home) -> None:
        self.path = home.path / "lock"

    def __enter__(self) -> None:
        self.file = self.path.open("a")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self.file.close()


# --- store check, gc


def test_a_damaged_blob_is_named_only_by_reading_it(home: MirroredHome) -> None:
    assert home.json("store", "check")["blobs"] == 5
    path = a_blob(home)
    raw = path.read_bytes()
    path.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    home.json("store", "check")
    code, out, err = home.run("store", "check", "--read-data", "--json")
    answer = json.loads(out)
    assert (code, err, answer["error"]["reason"]) == (6, "", "corrupt")
    [damaged] = answer["data"]["damaged"]
    assert damaged["digest"] == path.name
    assert damaged["name"].endswith(" of log.example")
    assert damaged["name"] in answer["error"]["message"]
    path.unlink()
    assert home.json("store", "check", expect=6)["reason"] == "corrupt"


def test_check_for_people_has_a_line_for_the_database_and_one_for_the_blobs(
    home: MirroredHome,
) -> None:
    whole = "database ok       whole\nblobs    ok       5 "
    assert home.run("store", "check") == (0, f"{whole}there\n", "")
    assert home.run("store", "check", "--read-data") == (0, f"{whole}read and re-hashed\n", "")


def test_a_check_is_one_value_for_people_and_for_programs(home: MirroredHome) -> None:
    a_blob(home).unlink()
    code, out, _ = home.run("store", "check", "--json")
    database, blobs = json.loads(out)["data"]["checks"]
    assert database == {"check": "database", "outcome": "ok", "text": "whole"}
    assert (code, blobs["outcome"], blobs["reason"]) == (6, "failed", "corrupt")
    assert "attestor tiles fetch" in blobs["next"]
    _, out, err = home.run("store", "check")
    assert f"blobs    failed   {blobs['text']}\n" in out
    assert f"Error: {blobs['text']}; {blobs['next']}\n" == err


def test_gc_sweeps_what_nothing_names(home: MirroredHome) -> None:
    home.sync(100)
    (home.path / "blobs" / "sha256" / "ab" / "left.tmp").write_bytes(b"x" * 10)
    unnamed = home.path / "blobs" / "sha256" / "ab" / ("ab" * 32)
    unnamed.write_bytes(b"x")
    dry = home.json("store", "gc", "--dry-run")
    wet = home.json("store", "gc")
    assert dry == {**wet, "dryRun": True}
    assert wet["blobs"] > 0 and wet["temporary"] == 1
    assert home.json("store", "gc")["blobs"] == 0
    home.json("store", "check", "--read-data")


def test_gc_waits_for_nobody(home: MirroredHome) -> None:
    with Locked(home):
        assert home.json("store", "gc", expect=75)["reason"] == "locked"
        home.json("store", "check")  # a reader never locks


# --- doctor


def test_the_doctor_prints_a_table_and_ends_with_the_worst_code(home: MirroredHome) -> None:
    code, out, err = home.run("doctor")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 20
    (home.path / "keys").chmod(0o755)  # 9
    assert home.json("doctor", expect=9)["reason"] == "key-permissions"
    a_blob(home)
    (home.path / "attestor.db").chmod(0o666)  # 6, which is worse
    code, out, err = home.run("doctor", "--json")
    assert code == 6
    failed = [one for one in json.loads(out)["data"]["checks"] if one["outcome"] == "failed"]
    assert {one["check"] for one in failed} == {"database", "keys"}
    assert all(one["next"] for one in failed)


def test_the_doctor_knows_when_there_is_no_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json"], Session(home=tmp_path / "none")) == 6
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"]["reason"] == "no-store"
    assert not (tmp_path / "none").exists()


# --- several at once


def test_of_many_writers_at_once_each_ends_with_0_or_75(home: MirroredHome) -> None:
    command = [sys.executable, "-m", "appliance.cli.main", "--home", str(home.path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    started = [
        subprocess.Popen(
            [*command, *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in (["store", "gc"], ["init"], ["store", "gc"], ["store", "check"])
    ]
    errors = [process.communicate()[1] for process in started]
    codes = [process.returncode for process in started]
    assert set(codes) <= {0, 75}, errors
    assert codes[3] == 0, errors  # the reader
    home.json("store", "check", "--read-data")


def test_a_page_that_is_overwritten_is_found_by_check(home: MirroredHome) -> None:
    home.json("config", "set", "alerts.stream", "valuevalue")
    damage_a_page(home.path)
    assert home.json("store", "check", expect=6)["reason"] == "corrupt"
