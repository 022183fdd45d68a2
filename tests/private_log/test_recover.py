"""log recover: what lets a restored, copied or lost log sign again, and what never does."""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.logs import put_backend
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.tile import new_entry_bundles, new_tiles
from tests.private_log.private_homes import NOW, ORIGIN, check_home, reboot
from tests.private_log.test_log import Site, _request_file
from tests.serve.running_log import RunningLog, running_log
from tests.serve.signed_requests import signed_request


@pytest.fixture
def log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    site = Site(tmp_path / "home", capsys)
    site("create", "build", "--origin", ORIGIN)
    return site


def add(
    log: Site, directory: Path, *names: bytes, home: Path | None = None, expect: int = 0
) -> Any:
    answers = [log("add", _request_file(directory, one), home=home, expect=expect) for one in names]
    return answers[-1]


def static_tree(home: Path, directory: Path) -> Path:
    """Write a log's newest checkpoint and tiles as any mirror would have them."""
    store = open_store(home, write=False)
    private = require_private_log(store, None)
    mirror = Mirror(store, private.log)
    head = mirror.history.mirror_checkpoint()
    assert head is not None
    size = head.head.tree_size
    files = {"checkpoint": mirror.history.newest_note(size)}
    files |= {one.path: data for one, data in mirror.read_tiles(list(new_tiles(0, size))).items()}
    files |= {one.path: mirror.read_entry_bundle(one) for one in new_entry_bundles(0, size)}
    store.close()
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory


def backup(log: Site, target: Path, *options: str) -> Path:
    words = ["store", "backup", str(target), *options]
    assert run(words, Session(home=log.home, now=lambda: NOW)) == 0
    log.capsys.readouterr()
    return target


def restore(copy: Path, home: Path) -> None:
    """As the README has it: over the home, keeping the directories that are there."""
    shutil.copytree(copy, home, dirs_exist_ok=True)


def test_a_backup_restored_over_the_home_asks(log: Site, tmp_path: Path) -> None:
    add(log, tmp_path, b"one")
    copy = backup(log, tmp_path / "backup", "--with-blobs", "--with-keys")
    add(log, tmp_path, b"two", b"three")
    restore(copy, log.home)
    error = add(log, tmp_path, b"a fork", expect=8)["error"]
    assert error["reason"] == "restored" and "log recover" in error["next"]
    # This machine remembers three entries: nobody's word is taken against it.
    error = log("recover", "--only-copy", expect=8)["error"]
    assert error["reason"] == "restored" and "3 entries" in error["message"]
    # After a boot it does not, and then the backup asks all the same.
    reboot()
    assert add(log, tmp_path, b"a fork", expect=8)["error"]["reason"] == "restored"
    assert log("recover", expect=8)["error"]["reason"] == "restored"


def test_a_copy_put_back_in_place_is_seen_while_the_machine_runs(log: Site, tmp_path: Path) -> None:
    add(log, tmp_path, b"one")
    shutil.copytree(log.home, tmp_path / "copy")
    add(log, tmp_path, b"two", b"three")
    restore(tmp_path / "copy", log.home)
    error = add(log, tmp_path, b"a fork", expect=8)["error"]
    assert error["reason"] == "restored" and "put back" in error["message"]
    assert log("status", expect=8)["data"]["logs"][0]["state"] == "restored"


def test_a_power_cut_needs_no_hand(log: Site, tmp_path: Path) -> None:
    add(log, tmp_path, b"one")
    reboot()
    [status] = log("status")["logs"]
    assert "cannot be seen" in status["outsideMemory"]
    add(log, tmp_path, b"two")
    [status] = log("status")["logs"]
    assert "this machine remembers" in status["outsideMemory"]


@pytest.mark.parametrize("kind", ["directory", "home", "url"])
def test_a_log_goes_on_from_a_mirror_when_only_its_key_is_left(
    log: Site, tmp_path: Path, kind: str
) -> None:
    add(log, tmp_path, b"one", b"two", b"three")
    new = tmp_path / "new"
    assert run(["init", "--site", "new.example"], Session(home=new, now=lambda: NOW)) == 0
    log.capsys.readouterr()
    shutil.copy(log.home / "keys" / f"{ORIGIN}.key", new / "keys")
    old = shutil.copytree(log.home, tmp_path / "old")
    if kind == "url":
        reboot()
        with running_log(log.home) as running:
            done = log("recover", "--log", "build", "--source", running.url, home=new)
    else:
        source = old if kind == "home" else static_tree(log.home, tmp_path / "tree")
        done = log("recover", "--log", "build", "--source", source, home=new)
    assert done["treeSize"] == 3 and done["compared"] and done["notCompared"]
    assert log("add", tmp_path / "two.json", home=new)["duplicate"] is True
    assert add(log, tmp_path, b"four", home=new)["index"] == 3
    assert len(check_home(new)) == 4
    assert add(log, tmp_path, b"a fork", expect=8)["error"]["reason"] == "restored"


@pytest.mark.parametrize("with_blobs", [False, True])
def test_an_old_database_goes_on_from_a_mirror(log: Site, tmp_path: Path, with_blobs: bool) -> None:
    add(log, tmp_path, b"one")
    options = ("--with-blobs", "--with-keys") if with_blobs else ()
    copy = backup(log, tmp_path / "backup", *options)
    add(log, tmp_path, b"two", b"three", b"four")
    tree = static_tree(log.home, tmp_path / "tree")
    if with_blobs:
        restore(copy, log.home)
    else:
        shutil.copy(copy, log.home / "attestor.db")
        for blob in (log.home / "blobs" / "sha256").glob("*/*"):
            blob.unlink()
    assert log("recover", expect=8)["error"]["reason"] == "restored"
    assert log("recover", "--source", tree)["treeSize"] == 4
    assert add(log, tmp_path, b"five")["index"] == 4
    assert len(check_home(log.home)) == 5


def test_a_mirror_that_is_behind_does_not_hide_what_was_signed(log: Site, tmp_path: Path) -> None:
    add(log, tmp_path, b"one")
    tree = static_tree(log.home, tmp_path / "tree")
    copy = backup(log, tmp_path / "backup", "--with-blobs", "--with-keys")
    add(log, tmp_path, b"two", b"three")
    restore(copy, log.home)
    assert log("recover", "--source", tree, expect=8)["error"]["reason"] == "restored"


def test_a_mirror_that_holds_another_tree_is_evidence(log: Site, tmp_path: Path) -> None:
    add(log, tmp_path, b"one", b"two")
    seed = load_signing_key(log.home, ORIGIN).seed
    reboot()
    other = Site(tmp_path / "other", log.capsys)
    (other.home / "keys" / f"{ORIGIN}.key").write_bytes(
        (log.home / "keys" / f"{ORIGIN}.key").read_bytes()
    )
    (other.home / "keys" / f"{ORIGIN}.key").chmod(0o600)
    other("create", "build", "--origin", ORIGIN, "--use-key")
    assert load_signing_key(other.home, ORIGIN).seed == seed
    add(other, tmp_path, b"uno", b"due")
    tree = static_tree(other.home, tmp_path / "tree")
    reboot()
    assert log("recover", "--source", tree, expect=4)["error"]["reason"] == "root-mismatch"


def test_a_configured_mirror_is_asked_after_a_boot(log: Site, tmp_path: Path) -> None:
    add(log, tmp_path, b"one")
    ahead = shutil.copytree(log.home, tmp_path / "ahead")
    reboot()
    log("recover", "--only-copy", home=ahead)
    with running_log(ahead) as running:
        with open_for_writing(log.home) as store, store.atomic():
            known = require_private_log(store, None).log
            put_backend(
                *(store, "mirror", known),
                base_url=running.url, read_url=None, mirror_of="build",
            )  # fmt: skip
        reboot()
        assert add(log, tmp_path, b"two")["index"] == 1  # it has the same: go on
        reboot()
        add(log, tmp_path, b"a third", b"a fourth", home=log.home)
    reboot()
    error = add(log, tmp_path, b"x", expect=7)["error"]  # nobody answers
    assert "--only-copy" in error["next"]
    assert log("recover", "--only-copy")["treeSize"] == 4
    assert add(log, tmp_path, b"x")["index"] == 4


def test_a_served_log_asks_its_mirror_when_the_machine_forgets_while_it_runs(
    log: Site, tmp_path: Path
) -> None:
    add(log, tmp_path, b"one")
    copy = shutil.copytree(log.home, tmp_path / "copy")
    reboot()
    log("recover", "--only-copy", home=copy)
    with running_log(copy) as mirror:
        with open_for_writing(log.home) as store, store.atomic():
            known = require_private_log(store, None).log
            put_backend(
                *(store, "mirror", known),
                base_url=mirror.url, read_url=None, mirror_of="build",
            )  # fmt: skip
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.settimeout(60)
        told.bind(str(tmp_path / "notify"))
        running = RunningLog(log.home, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})

        def stop_as_it_ends() -> None:
            while b"STOPPING=1" not in told.recv(1000):
                pass
            running.process.terminate()

        stopping = threading.Thread(target=stop_as_it_ends)
        stopping.start()
        try:
            reboot()  # as far as it can tell: the runtime directory is gone
            assert running.post(signed_request(b"two"))[0] == 201  # the mirror holds no other tree
            reboot()
            assert mirror.post(signed_request(b"another"))[0] == 201
            reboot()
            assert running.post(signed_request(b"three"))[0] == 500
            running.process.wait(10)  # it ends by itself, and says why, whoever stops it then
        finally:
            code, said = running.stop()
            stopping.join()
            told.close()
    assert (code, "contradicts itself" in said) == (4, True)


def open_for_writing(home: Path) -> Any:
    from tests.private_log.private_homes import writing

    return writing(home)
