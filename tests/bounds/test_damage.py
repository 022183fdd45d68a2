"""Damage here is code 6, whoever meets it; absence, damage, permission and age are told apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.store.database import DATABASE_NAME, open_store
from appliance.store.mirror.logs import add_log, put_backend
from tests.cli.homes import Home
from tests.rig.uniform_log import served
from tests.simulator import SimulatedLog

SPARSE_BYTES = 2**40
ABSENT_USER = 54_321


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Home]:
    made, log = Home(tmp_path / "home", capsys), SimulatedLog()
    log.grow(600)
    with served(log.answer) as url:
        with closing(open_store(made.path, write=True)) as store, store.atomic():
            known = add_log(store, log.origin, 2, log.key.spki)
            put_backend(store, "sim", known, base_url=None, read_url=url)
        assert made.run("sync", "--entries")[0] == 0
        yield made


def rot(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def make_sparse(path: Path) -> None:
    os.truncate(path, SPARSE_BYTES)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def blob_files(home: Home) -> list[Path]:
    return [path for path in (home.path / "blobs" / "sha256").rglob("*") if not path.is_dir()]


@pytest.mark.parametrize("damage", [rot, Path.unlink, make_fifo, make_sparse])
def test_a_damaged_blob_is_6_and_the_next_sync_heals_it(
    home: Home, damage: Callable[[Path], None]
) -> None:
    for path in blob_files(home):
        damage(path)
    asked = (
        ("prove", "--origin", "log.example", "--index", "3"),
        ("prove", "--origin", "log.example", "--from-size", "300"),
        ("entries", "show", "--origin", "log.example", "--index", "3"),
        ("checkpoint", "verify", "--backend", "sim", "--tree-size", "600"),
    )
    for words in asked:
        error = home.json(*words, expect=6)
        assert "damage" in error["next"], error
        [alert] = home.json("alerts", "list")["alerts"]  # whoever meets it first, and once
        assert (alert["type"], alert["endedAt"]) == ("StoreCorrupt", None), words
    assert home.run("store", "check", "--read-data")[0] == 6
    assert home.run("sync", "--entries")[0] == 0
    for words in asked:
        home.json(*words)
    assert home.run("store", "check", "--read-data")[0] == 0
    assert not list((home.path / "blobs" / "damaged").iterdir())


def test_a_database_that_was_emptied_is_no_older_schema(home: Home) -> None:
    (home.path / DATABASE_NAME).write_bytes(b"")
    for words in (["sync"], ["sync-status"], ["init"]):
        error = home.json(*words, expect=6)
        assert "restore" in error["next"] and "schema" not in error["message"], error
    assert (home.path / DATABASE_NAME).stat().st_size == 0


@pytest.mark.parametrize("kept", ["keys", "blobs"])
def test_init_refuses_a_home_that_lost_its_database(home: Home, kept: str) -> None:
    (home.path / DATABASE_NAME).unlink()
    if kept == "blobs":
        for path in (home.path / "keys").iterdir():
            path.unlink()
    error = home.json("init", "--site", "site.example", expect=6)
    assert (error["reason"], kept in error["message"]) == ("database-lost", True)
    assert not (home.path / DATABASE_NAME).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user")
def test_who_does_not_own_the_home_reads_it_and_writes_nothing(home: Home) -> None:
    os.chown(home.path, ABSENT_USER, ABSENT_USER)
    before = {path: path.stat().st_mtime_ns for path in home.path.rglob("*")}
    for words in (
        ["sync"],
        ["store", "gc"],
        ["init"],
        ["key", "generate", "another"],
        ["log", "create", "mine", "--origin", "mine.example"],
    ):
        error = home.json(*words, expect=6)
        assert error["reason"] == "wrong-owner", words
        assert f"sudo -u '#{ABSENT_USER}'" in error["next"]
    assert home.run("sync-status")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in home.path.rglob("*")} == before
