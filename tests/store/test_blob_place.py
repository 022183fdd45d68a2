"""Blobs on another disk: moved there and back, killed at each step, never two homes' at once."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.store import blob_place as module
from appliance.store.blob_place import move_blobs
from appliance.store.database import open_store
from tests.cli.homes import Home
from tests.cli.mirrored import MirroredHome


class KilledError(BaseException):
    """What a test ends a move with, where a signal would."""


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    made = MirroredHome(tmp_path / "home", capsys, "connected")
    made.sync(600)
    return made


def proves(home: Home) -> None:
    home.json("prove", "--origin", "log.example", "--index", "5")
    home.json("store", "check", "--read-data")


def blobs_in(place: Path) -> set[str]:
    return {path.name for path in (place / "sha256").glob("*/*")}


def test_there_and_back(home: MirroredHome, tmp_path: Path) -> None:
    place, own = tmp_path / "disk" / "blobs", home.path / "blobs"
    before = blobs_in(own)
    done = home.json("store", "move-blobs", place)
    assert (done["change"], done["blobs"], done["path"]) == (True, len(before), str(place))
    assert blobs_in(place) == before and own.is_symlink()
    assert sorted(path.name for path in home.path.glob("blobs*")) == ["blobs"]
    proves(home)
    home.sync(500)
    proves(home)
    assert str(place) in home.run("config", "show")[1]
    assert home.json("store", "move-blobs", place)["change"] is False
    home.json("store", "move-blobs", "blobs")
    assert own.is_dir() and not own.is_symlink()
    assert list(place.iterdir()) == []
    proves(home)
    events = [one["event"] for one in home.json("journal", "list")["lines"]]
    assert events.count("blobs.moved") == 2


def test_from_one_disk_to_another(home: MirroredHome, tmp_path: Path) -> None:
    home.json("store", "move-blobs", tmp_path / "one")
    home.json("store", "move-blobs", tmp_path / "two")
    assert list((tmp_path / "one").iterdir()) == []
    proves(home)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("exchange", [False, True])
def test_killed_at_each_step_it_goes_on(
    home: MirroredHome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exchange: bool,
    back: bool,
) -> None:
    place = tmp_path / "disk"
    expected = blobs_in(home.path / "blobs")
    if back:
        move_blobs(home.path, place, lambda _: None)
    target = None if back else place
    if not exchange:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    left = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KilledError
            return original(*arguments, **options)

        return call

    for owner, name in (
        *((shutil, "copy2"), (module, "sync_directory"), (module, "sync_filesystem")),
        *((Path, name) for name in ("rename", "unlink", "rmdir", "symlink_to", "mkdir")),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    stop, n_killed = 1, 0
    while True:
        left = stop
        try:
            move_blobs(home.path, target, lambda _: None)
            break
        except KilledError:
            n_killed += 1
        left = 10**9
        if os.path.lexists(home.path / "blobs"):  # whoever reads now finds every blob
            with_all = home.path / "blobs"
            assert blobs_in(with_all) == expected
        stop += 1 + stop // 10
    left = 10**9
    assert n_killed > 15
    monkeypatch.undo()
    assert blobs_in(place if target else home.path / "blobs") == expected
    assert sorted(path.name for path in home.path.glob("blobs*")) == ["blobs"]
    proves(home)


def test_half_a_copy_is_not_taken_for_whole(home: MirroredHome, tmp_path: Path) -> None:
    place, one = tmp_path / "disk", sorted((home.path / "blobs" / "sha256").glob("*/*"))[0]
    copy = place / one.relative_to(home.path / "blobs")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"\0" * one.stat().st_size)
    (place / module.OWNER_NAME).write_text(f"{home.path.resolve()}\n")
    home.json("store", "move-blobs", place)
    proves(home)


def test_a_disk_that_is_not_mounted_is_named(home: MirroredHome, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    home.json("store", "move-blobs", place)
    place.rename(tmp_path / "unmounted")
    for words in (("sync-status",), ("store", "gc")):
        error = home.json(*words, expect=6)
        assert error["reason"] == "blobs-elsewhere" and str(place) in error["message"]


def test_a_copied_home_does_not_touch_the_blobs_of_the_first(
    home: MirroredHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "disk"
    home.json("store", "move-blobs", place)
    shutil.copytree(home.path, tmp_path / "copy", symlinks=True)
    copied = Home(tmp_path / "other", capsys)
    copied.app = type(copied.app)(home=tmp_path / "copy", now=copied.app.now)
    assert copied.json("store", "gc", expect=6)["reason"] == "blobs-elsewhere"
    assert copied.json("store", "move-blobs", place, expect=8)["reason"] == "blobs-elsewhere"
    # A home that was moved takes its blobs along.
    shutil.rmtree(tmp_path / "copy")
    home.path.rename(tmp_path / "copy")
    assert copied.json("store", "gc", expect=6)["reason"] == "blobs-elsewhere"
    copied.json("store", "move-blobs", place)
    proves(copied)


def test_places_that_cannot_be(home: MirroredHome, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    for path, code, reason in (
        ("relative/place", 9, "bad-value"),
        (str(home.path / "keys" / "blobs"), 9, "bad-value"),
        (str(tmp_path), 9, "bad-value"),
        (str(full), 8, "not-empty"),
        ("/proc/attestor", 6, "io"),
    ):
        error = home.json("store", "move-blobs", path, expect=code)
        assert error["reason"] == reason or path == "/proc/attestor", error
    assert (home.path / "blobs").is_dir()
    open_store(home.path, write=True).close()
