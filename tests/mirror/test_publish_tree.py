"""tiles publish: a log as files that a reader finds consistent at any moment, after any kill."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from appliance.jobs.mirror.directory_source import DirectorySource
from appliance.jobs.mirror.publish_tree import publish_tree
from appliance.store.mirror.static_tree import StaticTree
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.tile import Tile, new_entry_bundles, tiles_of
from tests.cli.homes import NOW, Home
from tests.cli.mirrored import MirroredHome
from tests.mirror.mirrors import make_mirror, sync_from
from tests.simulator import SimulatedLog

MINUTE = 60
_dying: list[int] = []  # how many more changes of files this process makes


def _count_down(event: str, arguments: tuple[object, ...]) -> None:
    creates = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
    if _dying and (creates or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")):
        _dying[0] -= 1
        if _dying[0] == 0:
            os._exit(9)  # before it happens, as kill -9 would


def never(note: bytes) -> None:
    pytest.fail(f"nothing contradicts this: {note.decode()}")


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "www" / "log"


def verify_reader(tree: Path, log: SimulatedLog) -> int:
    """Read all that the published checkpoint implies, as a mirror would; return its size."""
    source = DirectorySource(tree)
    size = open_checkpoint(source.checkpoint(), [log.key], log.origin).head.tree_size
    for tile, data in source.tiles(list(tiles_of(size))):
        assert data == log.answer(tile.path), tile.path
    for bundle, data in source.entry_bundles(list(new_entry_bundles(0, size))):
        assert data == log.answer(bundle.path), bundle.path
    return size


def test_the_tree_is_what_the_log_serves_and_grows_with_it(
    home: MirroredHome, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.sync(700)
    before = os.umask(0o077)
    try:
        first = home.json("tiles", "publish", tree)
    finally:
        os.umask(before)
    assert (first["treeSize"], first["previousSize"]) == (700, None)
    assert (first["tiles"], first["entryBundles"], first["removed"]) == (4, 3, 0)
    assert verify_reader(tree, home.log) == 700
    assert (tree / "checkpoint").read_bytes() == home.log.answer("checkpoint")
    for path in (tree, *tree.rglob("*")):  # the web server is another user
        if path.name != ".attestor-tree.lock":
            assert path.stat().st_mode & 0o004, path
    again = home.json("tiles", "publish", tree, "--backend", "sim")
    assert (again["tiles"], again["entryBundles"], again["previousSize"]) == (0, 0, 700)
    home.sync(100)
    grown = home.json("tiles", "publish", tree)
    # Level 0: one that became full, one partial; level 1: one. Nothing else is touched.
    assert (grown["treeSize"], grown["tiles"], grown["entryBundles"]) == (800, 3, 2)
    assert verify_reader(tree, home.log) == 800
    code, out, err = home.run("tiles", "publish", tree)
    assert (code, err) == (0, "")
    assert out == (
        f"{tree}: log.example at 800 after 800; 0 tiles and 0 entry bundles written, 0 partial"
        " tiles removed\n"
    )


def test_another_home_follows_the_directory(
    home: MirroredHome, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.sync(600)
    home.json("tiles", "publish", tree)
    other = Home(tmp_path / "other", capsys)
    key = tmp_path / "log.vkey"
    key.write_text(f"{home.log.key.vkey}\n")
    other.json(
        *("backend", "add", "copy", "--origin", home.log.origin, "--public-key", key),
        *("--url", f"file://{tree}"),
    )
    [done] = other.json("sync", "--full-tiles", "--entries")["backends"]
    assert (done["mirrorSize"], done["complete"]) == (600, True)
    home.sync(50)
    home.json("tiles", "publish", tree)
    [done] = other.json("sync", "--full-tiles", "--entries")["backends"]
    assert (done["relation"], done["mirrorSize"]) == ("ahead", 650)


def test_partial_tiles_go_ten_minutes_and_a_run_after_they_became_full(tmp_path: Path) -> None:
    log, tree = SimulatedLog(), StaticTree(tmp_path / "tree")
    mirror = make_mirror(tmp_path / "home", log)

    def publish(more: int, at: int) -> int:
        if more:
            log.grow(more)
            sync_from(mirror, log)
        done = publish_tree(mirror, tree, NOW + at, never)
        assert verify_reader(tree.directory, log) == log.tree_size
        return done.removed

    assert publish(200, at=0) == 0
    assert publish(100, at=5 * MINUTE) == 0
    old = tree.directory / "tile/0/000.p/200"
    assert old.exists()  # whoever read the checkpoint of 200 asks for it
    assert publish(10, at=14 * MINUTE) == 0  # the first full one is nine minutes old
    assert publish(10, at=16 * MINUTE) == 2  # its partial tile and entry bundle
    assert not old.exists()
    assert (tree.directory / "tile/0/001.p/44").exists()  # not full yet: it stays
    assert publish(300, at=20 * MINUTE) == 0
    assert publish(0, at=40 * MINUTE) == 2 * 3  # of 300, 310 and 320
    assert publish(0, at=60 * MINUTE) == 0


def test_a_run_that_is_killed_anywhere_leaves_one_consistent_tree(tmp_path: Path) -> None:
    sys.addaudithook(_count_down)
    log, directory = SimulatedLog(), tmp_path / "tree"
    mirror = make_mirror(tmp_path / "home", log)
    log.grow(500)
    sync_from(mirror, log)
    publish_tree(mirror, StaticTree(directory), NOW, never)
    log.grow(600)
    sync_from(mirror, log)
    later = NOW + 20 * MINUTE
    sizes, survived, place = set(), False, 0
    while not survived:
        place += 1
        copy = tmp_path / f"copy-{place}"
        shutil.copytree(directory, copy)
        child = os.fork()
        if child == 0:
            _dying.append(place)
            publish_tree(mirror, StaticTree(copy), later, never)
            os._exit(0)
        survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        sizes.add(verify_reader(copy, log))
        publish_tree(mirror, StaticTree(copy), later, never)
        assert verify_reader(copy, log) == 1100
        publish_tree(mirror, StaticTree(copy), later + 20 * MINUTE, never)
        assert verify_reader(copy, log) == 1100
        assert [one for one in copy.rglob("*.p") if one.with_suffix("").is_file()] == []
        shutil.rmtree(copy)
    assert sizes == {500, 1100}
    assert place > 20


def test_what_a_killed_run_left_is_compared_not_believed(home: MirroredHome, tree: Path) -> None:
    home.sync(300)
    home.json("tiles", "publish", tree)
    home.sync(300)
    half = tree / "tile/0/001"
    half.write_bytes(bytes(8192))
    (tree / "tile/entries/001").write_bytes(b"\0")
    home.json("tiles", "publish", tree)
    assert verify_reader(tree, home.log) == 600


def test_all_compares_what_is_there_and_repairs_it(home: MirroredHome, tree: Path) -> None:
    home.sync(600)
    home.json("tiles", "publish", tree)
    (tree / "tile/0/000").write_bytes(bytes(8192))
    (tree / "tile/entries/001").unlink()
    assert home.json("tiles", "publish", tree)["tiles"] == 0
    repaired = home.json("tiles", "publish", tree, "--all")
    assert (repaired["tiles"], repaired["entryBundles"]) == (1, 1)
    assert verify_reader(tree, home.log) == 600


def test_a_directory_of_another_log_is_left_as_it_is(
    home: MirroredHome, tree: Path, tmp_path: Path
) -> None:
    home.sync(300)
    other = SimulatedLog("other.example")
    other.grow(10)
    other.write_static(tree)
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    error = home.json("tiles", "publish", tree, expect=8)
    assert (error["reason"], "other.example" in error["message"]) == ("other-log", True)
    after = {path: path.read_bytes() for path in before}
    assert after == before
    assert not (tree / ".attestor-tree").exists()
    (tree / "checkpoint").unlink()
    assert home.json("tiles", "publish", tree, expect=8)["reason"] == "not-our-tree"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / ".attestor-tree").write_text("attestor tree/1\norigin other.example\ncleaned 0\n")
    assert home.json("tiles", "publish", mine, expect=8)["reason"] == "other-log"
    (mine / ".attestor-tree").write_text("attestor tree/2\n")
    assert home.json("tiles", "publish", mine, expect=8)["reason"] == "not-our-tree"
    server = tmp_path / "server"
    (server / ".state").mkdir(parents=True)
    assert home.json("tiles", "publish", server, expect=8)["reason"] == "server-storage"


def test_a_larger_tree_is_refused_and_another_tree_is_evidence(
    home: MirroredHome, tree: Path
) -> None:
    home.sync(300)
    home.json("tiles", "publish", tree)
    ahead = home.log.checkpoint_at(300)
    twin = home.log.fork(at=100)
    twin.grow(1)
    (tree / "checkpoint").write_bytes(twin.answer("checkpoint"))
    error = home.json("tiles", "publish", tree, expect=8)
    assert error["reason"] == "larger-tree"
    home.sync(50)
    (tree / "checkpoint").write_bytes(twin.checkpoint_at(280))
    error = home.json("tiles", "publish", tree, expect=4)
    assert error["reason"] == "root-mismatch"
    assert (tree / "checkpoint").read_bytes() == twin.checkpoint_at(280)
    # The log is in quarantine now: nothing more of it is given to anybody.
    (tree / "checkpoint").write_bytes(ahead)
    [kept] = home.json("alerts", "list")["alerts"]
    assert kept["severity"] == "critical"
    assert home.json("tiles", "publish", tree, expect=8)["reason"] == "quarantined"
    assert (tree / "checkpoint").read_bytes() == ahead


def test_what_is_missing_or_damaged_here_is_never_published(home: MirroredHome, tree: Path) -> None:
    assert home.json("tiles", "publish", tree, expect=5)["reason"] == "no-checkpoint"
    home.sync(600)
    with home.mirror() as mirror:
        row = mirror.entry_bundle_blob(next(iter(new_entry_bundles(256, 600))))
        assert row is not None
        with mirror.store.atomic():
            mirror.store.execute("DELETE FROM entry_bundle WHERE tile_index = 1")
    error = home.json("tiles", "publish", tree, expect=5)
    assert "--entries" in error["next"]
    assert not (tree / "checkpoint").exists()
    home.sync(0)
    with home.mirror() as mirror:
        digest = mirror.tile_digest(Tile(0, 1))
        assert digest is not None
        mirror.store.blobs.path(digest).write_bytes(bytes(8192))
    assert home.json("tiles", "publish", tree, expect=6)["reason"] == "corrupt"
    assert not (tree / "checkpoint").exists()


def test_two_publishers_of_one_directory_take_turns(home: MirroredHome, tree: Path) -> None:
    home.sync(10)
    with StaticTree(tree).locked("somebody else\n", 0.0, lambda _: None):
        error = home.json("tiles", "publish", tree, expect=75)
    assert "somebody else" in error["message"]
    home.json("tiles", "publish", tree)


def test_a_directory_that_cannot_be_written(home: MirroredHome, tree: Path) -> None:
    home.sync(10)
    tree.parent.mkdir(parents=True)
    tree.write_text("a file")
    assert home.run("tiles", "publish", tree)[0] == 2
    tree.unlink()
    tree.mkdir()
    (tree / "tile").write_text("a file")
    (tree / "checkpoint").mkdir()
    assert home.json("tiles", "publish", tree, expect=6)["reason"] == "file"
    assert (tree / "checkpoint").is_dir()


def test_which_log_has_to_be_said_where_there_are_several(home: MirroredHome, tree: Path) -> None:
    home.sync(10)
    home.json("log", "create", "build", "--origin", "build.example")
    error = home.json("tiles", "publish", tree, expect=9)
    assert (error["reason"], "build, sim" in error["message"]) == ("which-log", True)
    hosted = home.json("tiles", "publish", tree, "--backend", "build")
    assert (hosted["origin"], hosted["treeSize"]) == ("build.example", 0)
