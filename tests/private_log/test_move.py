"""log move and log adopt: one tree, and never two that sign it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from appliance.cli.main import run
from appliance.errors import MalformedError, MovedError, StoreError
from appliance.jobs.private_log.adopt import adopt_log
from appliance.jobs.private_log.move import cancel_move, move_log
from appliance.jobs.private_log.sequence import Standing, standing
from appliance.runs.private_log import set_witnesses
from appliance.runs.session import Session
from appliance.store import filesystem
from appliance.store.database import open_store
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import (
    LastSigned,
    Move,
    parse_last_signed,
)
from appliance.store.private_log.posix_storage import PosixStorage
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import cosigner_key
from appliance.tlog.note import SigningKey, parse_pkcs8_key
from tests.jobs.faults import Faults, PowerCutError, injected
from tests.private_log.other_server import OtherServer
from tests.private_log.private_homes import (
    NOW,
    ORIGIN,
    check_home,
    home_in_memory,
    log_bodies,
    make_home,
    reboot,
    writing,
)
from tests.private_log.test_log import Site
from tests.private_log.test_recover import backup, restore
from tests.serve.running_log import RunningLog, running_log
from tests.serve.signed_requests import signed_request

OLD = [b"old %d" % number for number in range(300)]
NEW = [b"new %d" % number for number in range(250)]


@pytest.fixture
def log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A home whose log has 300 entries; its commands do not really wait."""
    site = Site(tmp_path / "home", capsys)
    site("create", "build", "--origin", ORIGIN)
    log_bodies(site.home, OLD[:256])
    log_bodies(site.home, OLD[256:])
    return site


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.runs.log_move.PAUSE_SECONDS", 0.0)


def server_of(log: Site, storage: Path) -> OtherServer:
    return OtherServer(storage, load_signing_key(log.home, ORIGIN))


def moved(log: Site, tmp_path: Path) -> tuple[Path, OtherServer]:
    storage = tmp_path / "storage"
    log("move", "--to", storage)
    return storage, server_of(log, storage)


def request_file(directory: Path, artifact: bytes) -> Path:
    file = directory / "request.json"
    file.write_bytes(signed_request(artifact))
    return file


def test_a_log_moves_grows_there_and_comes_back_as_one_tree(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    assert server.entries == OLD
    note = open_checkpoint((storage / "checkpoint").read_bytes(), [server.key.verifier], ORIGIN)
    assert note.head == server.head and note.head.tree_size == 300
    assert json.loads((storage / ".state" / "gcState").read_text()) == {"fromSize": 256}
    modes = {path.stat().st_mode & 0o777 for path in storage.rglob("*")}
    assert modes == {0o755, 0o644}
    server.grow(NEW)
    back = log("adopt", storage)
    assert (back["treeSize"], back["oldSize"]) == (550, 300)
    assert log("add", request_file(tmp_path, b"home"))["index"] == 550
    entries = check_home(log.home)
    assert entries[:550] == (*OLD, *NEW) and len(entries) == 551
    [status] = log("status")["logs"]
    assert status["state"] == "published" and status["movedTo"] is None


def test_what_the_other_server_logged_is_logged_only_once(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    # It logs the same again now and then; the first counts.
    server.grow([NEW[0], OLD[7], NEW[1], NEW[0]])
    log("adopt", storage)
    done = log_bodies(log.home, [NEW[0], OLD[7], NEW[1], b"fresh"])
    assert [(one.entry_index, one.duplicate) for one in done.placed] == [
        *((300, True), (7, True), (302, True), (304, False)),
    ]


def test_a_moved_log_is_signed_nowhere_but_there(log: Site, tmp_path: Path) -> None:
    storage, _ = moved(log, tmp_path)
    before = (log.home / "keys" / f"{ORIGIN}.last").read_bytes()
    for words in (
        ("add", request_file(tmp_path, b"a fork")),
        ("freeze", "build", "--yes"),
        ("recover",),
        ("recover", "--only-copy"),
    ):
        error = log(*words, expect=8)["error"]
        assert error["reason"] == "restored", words
        assert str(storage) in error["message"] and "log adopt" in error["next"], words
    assert (log.home / "keys" / f"{ORIGIN}.last").read_bytes() == before
    with pytest.raises(MovedError):  # whoever forgot to ask first
        log_bodies(log.home, [b"a fork"])
    [status] = log("status")["logs"]
    assert status["state"] == "moved" and status["movedTo"] == str(storage)
    # After a boot the record alone says so.
    reboot()
    assert log("add", request_file(tmp_path, b"a fork"), expect=8)["error"]["reason"] == "restored"


def test_a_home_that_is_put_back_to_before_its_move_remembers_it(log: Site, tmp_path: Path) -> None:
    shutil.copytree(log.home, tmp_path / "copy")
    whole = backup(log, tmp_path / "backup", "--with-blobs", "--with-keys")
    storage, _ = moved(log, tmp_path)
    for copy in (tmp_path / "copy", whole):
        restore(copy, log.home)
        error = log("add", request_file(tmp_path, b"a fork"), expect=8)["error"]
        assert error["reason"] == "restored" and "moved to" in error["message"]
        assert log("recover", "--only-copy", expect=8)["error"]["reason"] == "restored"
    assert log("adopt", storage)["treeSize"] == 300
    assert log("add", request_file(tmp_path, b"home"))["index"] == 300


def test_a_backup_of_a_moved_log_does_not_sign_either(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    copy = backup(log, tmp_path / "backup", "--with-blobs", "--with-keys")
    server.grow(NEW)
    shutil.rmtree(log.home)
    shutil.copytree(copy, log.home)
    reboot()
    error = log("recover", "--only-copy", expect=8)["error"]
    assert "log adopt" in error["next"] and "--source" in error["next"]
    assert log("adopt", storage)["treeSize"] == 550
    assert len(check_home(log.home)) == 550


def test_a_log_whose_other_server_is_lost_goes_on_from_a_mirror(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    server.grow(NEW)
    mirror = tmp_path / "mirror"
    shutil.move(storage, mirror)
    reboot()
    assert log("recover", "--source", mirror, expect=8)["error"]["reason"] == "restored"
    assert log("recover", "--source", mirror, "--only-copy")["treeSize"] == 550
    assert log("add", request_file(tmp_path, b"home"))["index"] == 550
    assert len(check_home(log.home)) == 551


def test_the_key_leaves_only_when_asked_and_is_the_one_that_signs(
    log: Site, tmp_path: Path
) -> None:
    key_file = tmp_path / "log.key.pem"
    done = log("move", "--to", tmp_path / "storage")
    assert done["key"] is None and not [*tmp_path.rglob("*.pem")]
    secret = load_signing_key(log.home, ORIGIN)
    for path in (tmp_path / "storage").rglob("*"):
        assert path.is_dir() or secret.seed not in path.read_bytes()
    done = log("move", "--to", tmp_path / "storage", "--write-key", key_file)
    assert f"--signer-filepath={key_file}" in done["command"]
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert parse_pkcs8_key(ORIGIN, key_file.read_bytes()) == secret
    openssl = subprocess.run(
        ["openssl", "pkey", "-in", key_file, "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    )
    assert openssl.stdout == secret.verifier.spki
    log("move", "--to", tmp_path / "storage", "--write-key", key_file)  # the same: fine
    other = tmp_path / "other.pem"
    other.write_text("precious")
    error = log("move", "--to", tmp_path / "storage", "--write-key", other, expect=9)["error"]
    assert error["reason"] == "key-exists" and other.read_text() == "precious"


def test_a_dry_run_says_what_would_be_written_and_changes_nothing(
    log: Site, tmp_path: Path
) -> None:
    before = (log.home / "keys" / f"{ORIGIN}.last").read_bytes()
    said = log("move", "--to", tmp_path / "storage", "--dry-run")
    assert not (tmp_path / "storage").exists()
    assert (log.home / "keys" / f"{ORIGIN}.last").read_bytes() == before
    done = log("move", "--to", tmp_path / "storage")
    assert (said["files"], said["bytes"], said["written"]) == (5, done["bytes"], 0)
    files = [one for one in (tmp_path / "storage" / "tile").rglob("*") if one.is_file()]
    assert (done["files"], done["written"]) == (5, len(files))
    assert done["bytes"] == sum(one.stat().st_size for one in files)


@pytest.mark.parametrize("what", ["file", "server", "tile", "no-parent", "a-file"])
def test_nothing_is_written_where_something_is(log: Site, tmp_path: Path, what: str) -> None:
    storage = tmp_path / "storage"
    expect, reason = 8, "not-empty"
    if what == "file":
        storage.mkdir()
        (storage / "notes.txt").write_text("mine")
    elif what == "server":  # which was started too early
        (storage / ".state").mkdir(parents=True)
        (storage / ".state" / "version").write_text("1")
    elif what == "tile":
        (storage / "tile").mkdir(parents=True)
    elif what == "no-parent":
        storage, expect, reason = tmp_path / "nowhere" / "storage", 5, "no-directory"
    else:
        storage.write_text("a file")
        log("move", "--to", storage, expect=2)
        return
    assert log("move", "--to", storage, expect=expect)["error"]["reason"] == reason
    assert log("add", request_file(tmp_path, b"still here"))["index"] == 300


def test_a_new_filesystem_is_empty_enough(log: Site, tmp_path: Path) -> None:
    (tmp_path / "storage" / "lost+found").mkdir(parents=True)
    storage, server = moved(log, tmp_path)
    assert server.entries == OLD and (storage / "lost+found").is_dir()


def test_a_frozen_log_and_a_pruned_one_stay(log: Site, tmp_path: Path) -> None:
    with writing(log.home) as store:
        log_id = require_private_log(store, None).log.id
        with store.atomic():
            store.execute("DELETE FROM entry_bundle WHERE log_id = ? AND tile_index = 0", [log_id])
    error = log("move", "--to", tmp_path / "storage", expect=5)["error"]
    assert error["reason"] == "tile-missing" and not (tmp_path / "storage").exists()
    log("freeze", "build", "--yes")
    assert log("move", "--to", tmp_path / "storage", expect=8)["error"]["reason"] == "frozen"


def test_a_disk_that_is_too_small_is_seen_before_anything_is_done(
    log: Site, tmp_path: Path
) -> None:
    little = filesystem.Room(1000, None, 10**9)
    with patch("appliance.store.private_log.posix_storage.room_at", lambda _: little):
        error = log("move", "--to", tmp_path / "storage", expect=6)["error"]
    assert error["reason"] == "disk-full"
    assert log("add", request_file(tmp_path, b"still here"))["index"] == 300


def test_a_disk_that_does_not_keep_what_was_written_is_caught(log: Site, tmp_path: Path) -> None:
    real = PosixStorage.put

    def lossy(self: PosixStorage, path: str, data: bytes) -> bool:
        done = real(self, path, data)
        if path == "tile/0/000":
            (self.directory / path).write_bytes(bytes(len(data)))
        return done

    with patch.object(PosixStorage, "put", lossy):
        error = log("move", "--to", tmp_path / "storage", expect=6)["error"]
    assert error["reason"] == "medium" and "tile/0/000" in error["message"]
    assert "attestor moving" in (tmp_path / "storage" / ".state" / "version").read_text()
    # Nothing is signed until it is finished, or cancelled.
    error = log("add", request_file(tmp_path, b"too early"), expect=8)["error"]
    assert error["reason"] == "restored" and "--cancel" in error["next"]
    assert log("status")["logs"][0]["state"] == "moving"
    _, server = moved(log, tmp_path)
    assert server.entries == OLD


def test_a_move_that_was_not_finished_can_be_taken_back(log: Site, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    assert log("move", "--cancel", expect=8)["error"]["reason"] == "not-moving"
    with patch.object(PosixStorage, "flush", side_effect=StoreError("the disk", reason="file")):
        log("move", "--to", storage, expect=6)
    assert log("adopt", storage, expect=8)["error"]["reason"] == "sealed"
    assert log("move", "--cancel")["treeSize"] == 300
    assert log("add", request_file(tmp_path, b"still here"))["index"] == 300
    with pytest.raises(ValueError, match="does not start"):
        server_of(log, storage)
    # And later it goes there after all.
    log("move", "--to", storage)
    assert len(server_of(log, storage).entries) == 301
    assert log("move", "--cancel", expect=8)["error"]["reason"] == "restored"


def test_a_move_whose_seal_is_gone_is_not_cancelled(log: Site, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with patch.object(PosixStorage, "flush", side_effect=StoreError("the disk", reason="file")):
        log("move", "--to", storage, expect=6)
    # So a server may have started there, whatever this home believes.
    (storage / ".state" / "version").write_text("1")
    error = log("move", "--cancel", expect=8)["error"]
    assert error["reason"] == "restored" and "was moved to" in error["message"]
    assert log("add", request_file(tmp_path, b"a fork"), expect=8)["error"]["reason"] == "restored"


def test_a_move_goes_on_to_another_directory(log: Site, tmp_path: Path) -> None:
    with patch.object(PosixStorage, "flush", side_effect=StoreError("the disk", reason="file")):
        log("move", "--to", tmp_path / "bad disk", expect=6)
    storage, server = moved(log, tmp_path)
    assert server.entries == OLD
    with pytest.raises(ValueError, match="does not start"):
        server_of(log, tmp_path / "bad disk")
    error = log("move", "--to", tmp_path / "third", expect=8)["error"]
    assert str(storage) in error["message"]


def test_a_copy_made_during_a_move_neither_finishes_nor_cancels_it(
    log: Site, tmp_path: Path
) -> None:
    with patch.object(PosixStorage, "flush", side_effect=StoreError("the disk", reason="file")):
        log("move", "--to", tmp_path / "storage", expect=6)
    copy = shutil.copytree(log.home, tmp_path / "copy")
    restored = backup(log, tmp_path / "backup", "--with-blobs", "--with-keys")
    moved(log, tmp_path)
    reboot()
    for home in (copy, restored):
        assert log("move", "--cancel", home=home, expect=8)["error"]["reason"] == "restored"
        error = log("move", "--to", tmp_path / "second", home=home, expect=8)["error"]
        assert error["reason"] == "restored"
        error = log("add", request_file(tmp_path, b"a fork"), home=home, expect=8)["error"]
        assert error["reason"] == "restored"


def test_two_logs_of_one_home_do_not_share_a_directory(log: Site, tmp_path: Path) -> None:
    log("create", "other", "--origin", "other.example")
    with patch.object(PosixStorage, "flush", side_effect=StoreError("the disk", reason="file")):
        log("move", "--log", "build", "--to", tmp_path / "storage", expect=6)
    words = ("move", "--log", "other", "--to", tmp_path / "storage")
    assert log(*words, expect=8)["error"]["reason"] == "not-empty"


# ------------------------------------------------------------------ coming back


def test_nothing_is_taken_from_a_server_that_runs(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    for name in ("treeState.lock", "publish.lock"):
        with holding(storage / ".state" / name):
            error = log("adopt", storage, expect=75)["error"]
            assert error["reason"] == "locked" and name in error["message"]
    program = "import time; time.sleep(60)"
    for words in (["--storage-dir", str(storage)], [f"--storage-dir={storage.name}"]):
        idle = subprocess.Popen([sys.executable, "-c", program, *words], cwd=tmp_path)
        try:
            error = log("adopt", storage, expect=8)["error"]
        finally:
            idle.kill()
            idle.wait()
        assert error["reason"] == "still-running" and str(idle.pid) in error["message"]
    log.capsys.readouterr()

    # One that idles when it is looked at first, and appends a moment later.
    session = Session(home=log.home, now=lambda: NOW, sleep=lambda _: server.append([b"one more"]))
    code = run(["log", "adopt", str(storage), "--json"], session)
    error = json.loads(log.capsys.readouterr().out)["error"]
    assert (code, error["reason"]) == (8, "still-running")
    assert log("adopt", storage)["treeSize"] == 301


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold a lock as Go does, in a process of its own."""
    program = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'a')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_what_was_appended_and_not_published_is_taken_over(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    server.grow(NEW[:10])
    server.append(NEW[10:])  # killed before it published: but a witness may have seen it
    promised = server.head
    assert log("adopt", storage)["treeSize"] == 550
    with open_reading(log.home) as store:
        head = Mirror(store, require_private_log(store, None).log).history.accepted()
        assert head is not None and head.head == promised
    assert log("add", request_file(tmp_path, b"home"))["index"] == 550
    assert check_home(log.home)[:550] == (*OLD, *NEW)


@contextmanager
def open_reading(home: Path) -> Iterator[Any]:
    store = open_store(home, write=False)
    try:
        yield store
    finally:
        store.close()


def test_what_witnesses_have_to_see_is_not_taken_over_without_them(
    log: Site, tmp_path: Path
) -> None:
    storage, server = moved(log, tmp_path)
    server.append(NEW)
    witness = cosigner_key(SigningKey("witness.example", b"w" * 32)).vkey
    for quorum, published, expect in (
        *(("w", False, "unpublished"), ("w", True, "quorum"), ("none", True, None)),
    ):
        policy = f"witness w {witness} http://w.invalid/\nquorum {quorum}\n".encode()
        with writing(log.home) as store:
            set_witnesses(store, require_private_log(store, None), policy, NOW)
        if published:
            server.publish()
        if expect is None:
            assert log("adopt", storage)["treeSize"] == 550
        else:
            assert log("adopt", storage, expect=8)["error"]["reason"] == expect
            assert (storage / ".state" / "version").read_text() == "1"


def test_an_adopted_storage_is_no_server_s_any_more(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    server.grow(NEW)
    log("adopt", storage)
    with pytest.raises(ValueError, match="does not start"):
        server_of(log, storage)
    with pytest.raises(ValueError, match="Expecting value"):
        server.append([b"it ran all the time, idle"])
    assert log("adopt", storage)["treeSize"] == 550  # again does nothing
    assert log("add", request_file(tmp_path, b"home"))["index"] == 550
    assert log("move", "--to", storage, expect=8)["error"]["reason"] == "not-empty"
    # A copy of this home has nothing to take there.
    copy = shutil.copytree(log.home, tmp_path / "copy")
    assert log("adopt", storage, home=copy, expect=8)["error"]["reason"] == "sealed"


DAMAGE = {
    "a-tile": "tile/0/000",
    "a-partial-tile": "tile/0/002.p/38",
    "an-upper-tile": "tile/1/000.p/2",
    "entries": "tile/entries/001",
    "partial-entries": "tile/entries/002.p/38",
    "checkpoint": "checkpoint",
    "tree-state": ".state/treeState",
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("how", ["flipped", "gone", "cut", "longer"])
def test_a_damaged_storage_is_not_taken_and_stays_the_server_s(
    log: Site, tmp_path: Path, what: str, how: str
) -> None:
    storage, server = moved(log, tmp_path)
    server.grow(NEW)
    file = storage / DAMAGE[what]
    data = bytearray(file.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 1
    elif how == "cut":
        del data[-1:]
    elif how == "longer":
        data += b"x"
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(bytes(data))
    answer = log("adopt", storage, expect=5 if how == "gone" else 3)
    assert storage.name in answer["error"]["message"] or "tile" in answer["error"]["message"]
    assert (storage / ".state" / "version").read_text() == "1"
    assert log("status")["logs"][0]["state"] == "moved"


def test_another_tree_under_our_key_is_evidence(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    server.write([b"another past", *OLD[1:], *NEW])
    server.publish()
    answer = log("adopt", storage, expect=4)
    assert answer["error"]["reason"] == "fork"
    with open_reading(log.home) as store:
        assert store.row("SELECT count(*) AS n FROM evidence")["n"] == 1
    assert (storage / ".state" / "version").read_text() == "1"
    assert log("add", request_file(tmp_path, b"no"), expect=8)["error"]["reason"] == "restored"


def test_another_tree_that_nobody_signed_is_a_no(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    server.write([b"another past", *OLD[1:], *NEW])
    assert log("adopt", storage, expect=3)["error"]["reason"] == "root"
    # Nor one under another key.
    stranger = OtherServer(storage, parse_pkcs8_key(ORIGIN, other_key()))
    stranger.write([*OLD, *NEW])
    stranger.publish()
    assert log("adopt", storage, expect=3)["error"]["reason"] == "unknown-signer"


def other_key() -> bytes:
    made = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True
    )
    return made.stdout


def test_an_older_copy_of_the_storage_is_refused(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    old = shutil.copytree(storage, tmp_path / "old")
    server.grow(NEW)
    log("adopt", storage)
    log("move", "--to", tmp_path / "again")
    (tmp_path / "again").rename(tmp_path / "hidden")
    error = log("adopt", old, expect=8)["error"]
    assert error["reason"] == "restored" and "older copy" in error["message"]
    assert log("adopt", tmp_path / "hidden")["treeSize"] == 550


def test_a_log_comes_back_only_from_where_it_went(log: Site, tmp_path: Path) -> None:
    first, _ = moved(log, tmp_path)
    copy = shutil.copytree(first, tmp_path / "copy")
    log("adopt", first)
    second = tmp_path / "second"
    log("move", "--to", second)  # as many entries as the first storage has, and a copy of it
    for other in (first, copy):
        assert log("adopt", other, expect=8)["error"]["reason"] == "other-storage"
    assert (second / ".state" / "version").read_text() == "1"
    # But its disk may be mounted elsewhere by now.
    renamed = second.rename(tmp_path / "renamed")
    assert log("adopt", first, expect=8)["error"]["reason"] == "other-storage"
    assert log("adopt", renamed)["treeSize"] == 300


def test_a_home_put_back_to_an_earlier_move_takes_nothing_from_there(
    log: Site, tmp_path: Path
) -> None:
    first, _ = moved(log, tmp_path)
    copy = shutil.copytree(log.home, tmp_path / "copy")
    whole = backup(log, tmp_path / "backup", "--with-blobs", "--with-keys")
    log("adopt", first)
    second = tmp_path / "second"
    log("move", "--to", second)
    for earlier in (copy, whole):  # which say that it is in the first storage
        restore(earlier, log.home)
        expected = "other-storage" if earlier == copy else "restored"
        assert log("adopt", first, expect=8)["error"]["reason"] == expected
    reboot()
    assert log("adopt", first, expect=8)["error"]["reason"] == "restored"
    assert (second / ".state" / "version").read_text() == "1"
    assert log("adopt", second)["treeSize"] == 300


def test_what_a_mirror_saw_beyond_the_storage_is_no_way_back(log: Site, tmp_path: Path) -> None:
    storage, server = moved(log, tmp_path)
    old = shutil.copytree(storage, tmp_path / "old")
    server.grow(NEW)
    mirror = tmp_path / "mirror"
    shutil.copytree(storage, mirror)
    # The home keeps up with the other server meanwhile, as any mirror.
    vkey = tmp_path / "log.vkey"
    vkey.write_text(server.key.verifier.vkey)
    words = ["--public-key", str(vkey), "--url", f"file://{mirror}", "--mirror-of", "build"]
    assert run(["backend", "add", "there", "--origin", ORIGIN, *words], Session(log.home)) == 0
    assert run(["sync", "--entries"], Session(home=log.home)) == 0
    log.capsys.readouterr()
    assert log("status")["logs"][0]["treeSize"] == 550
    hidden = storage.rename(tmp_path / "hidden")
    error = log("adopt", old, expect=8)["error"]
    assert error["reason"] == "restored" and "older copy" in error["message"]
    assert log("adopt", hidden)["treeSize"] == 550


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_log_that_was_never_here_comes_with_its_key(
    log: Site, tmp_path: Path, mirrored: bool
) -> None:
    key_file = tmp_path / "log.key.pem"
    storage = tmp_path / "storage"
    log("move", "--to", storage, "--write-key", key_file)
    server_of(log, storage).grow(NEW)
    new = Site(tmp_path / "new", log.capsys)
    reboot()
    if mirrored:
        vkey = tmp_path / "log.vkey"
        vkey.write_text(load_signing_key(log.home, ORIGIN).verifier.vkey)
        words = ["backend", "add", "there", "--origin", ORIGIN, "--public-key", str(vkey)]
        assert run([*words, "--url", f"file://{storage}"], Session(home=new.home)) == 0
        assert run(["sync", "--entries"], Session(home=new.home)) == 0
        log.capsys.readouterr()
    assert new("adopt", storage, expect=5)["error"]["reason"] == "no-key"
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(other_key())
    wrong.chmod(0o600)
    assert new("adopt", storage, "--key", wrong, expect=3)["error"]["reason"] == "unknown-signer"
    assert not (new.home / "keys" / f"{ORIGIN}.key").exists()
    done = new("adopt", storage, "--log", "ours", "--key", key_file)
    assert (done["log"], done["treeSize"]) == ("ours", 550)
    assert new("add", request_file(tmp_path, b"home"))["index"] == 550
    assert len(check_home(new.home)) == 551
    # The home it came from is not asked, and signs nothing.
    assert log("add", request_file(tmp_path, b"a fork"), expect=8)["error"]["reason"] == "restored"


def test_a_storage_of_another_layout_is_named(log: Site, tmp_path: Path) -> None:
    assert log("adopt", tmp_path / "nothing", expect=5)["error"]["reason"] == "no-storage"
    storage, _ = moved(log, tmp_path)
    (storage / ".state" / "version").write_text("2")
    assert log("adopt", storage, expect=8)["error"]["reason"] == "storage-version"


# ------------------------------------------------------------------ at the same time


def test_a_log_that_is_served_is_not_moved(log: Site, tmp_path: Path) -> None:
    with running_log(log.home) as server:
        answer = log("move", "--to", tmp_path / "storage", expect=75)
        assert answer["error"]["reason"] == "locked"
        assert str(server.process.pid) in answer["error"]["message"]
        assert "\n" not in answer["error"]["message"]
        assert server.post(signed_request(b"still here"))[0] == 201
    storage, there = moved(log, tmp_path)
    assert len(there.entries) == 301
    # Served from here it is read; what is posted waits for the other server.
    server = RunningLog(log.home)
    try:
        assert server.ask("GET", "/api/v2/checkpoint")[2] == (storage / "checkpoint").read_bytes()
        status, answer = server.post(signed_request(b"too late"))
        assert status == 503 and answer["code"] == 14
        assert log("move", "--to", storage, expect=75)["error"]["reason"] == "locked"
    finally:
        code, said = server.stop()
    assert code == 143 and "was moved to" in said


def test_a_batch_that_was_signed_is_published_before_the_move(log: Site, tmp_path: Path) -> None:
    with injected(Faults()) as counted:
        log_bodies(log.home, [b"a"])
    at = len(counted.calls) - 1  # after the record, before the database commits
    assert counted.calls[at] == "commit"
    with pytest.raises(PowerCutError), injected(Faults(at + 1)):
        log_bodies(log.home, [b"b"])
    with open_reading(log.home) as store:
        assert standing(store, require_private_log(store, None)) is Standing.SIGNED
    _, server = moved(log, tmp_path)
    assert server.entries == [*OLD, b"a", b"b"]


# ------------------------------------------------------------------ wherever it dies


@contextmanager
def every_durable_call(faults: Faults) -> Iterator[None]:
    """As injected, and the flush of a filesystem and the second name of a file as well."""
    link, syncfs = os.link, filesystem.syncfs
    with (
        injected(faults),
        patch("os.link", lambda *names, **how: faults("link", lambda: link(*names, **how))),
        patch.object(filesystem, "syncfs", lambda number: faults("syncfs", syncfs, number)),
    ):
        yield


def may_sign(home: Path) -> bool:
    with open_reading(home) as store:
        private = require_private_log(store, None)
        return standing(store, private) not in (Standing.MOVING, Standing.MOVED)


def may_start(storage: Path) -> bool:
    """Whether the other server could sign from this storage."""
    try:
        return (storage / ".state" / "version").read_text() == "1" and bool(
            json.loads((storage / ".state" / "treeState").read_text())
        )
    except FileNotFoundError:
        return False
    except ValueError:
        return False


def move_once(home: Path, storage: Path) -> None:
    with writing(home) as store:
        private = require_private_log(store, None)
        key = load_signing_key(home, ORIGIN)
        move_log(store, private, key, PosixStorage(storage), NOW)


def adopt_once(home: Path, storage: Path) -> None:
    with writing(home) as store:
        private = require_private_log(store, None)
        key = load_signing_key(home, ORIGIN)
        there = PosixStorage(storage)
        with there.locked():
            adopt_log(store, private, "build", key, there, (), NOW)


def cancel_once(home: Path, storage: Path) -> None:
    with writing(home) as store:
        private = require_private_log(store, None)
        cancel_move(store, private, load_signing_key(home, ORIGIN), NOW)


def prepared(home: Path, storage: Path, step: str) -> None:
    make_home(home)
    log_bodies(home, OLD[:3])
    if step == "move":
        return
    if step == "cancel":
        with (
            patch.object(PosixStorage, "flush", side_effect=PowerCutError),
            pytest.raises(PowerCutError),
        ):
            move_once(home, storage)
        return
    move_once(home, storage)
    server = OtherServer(storage, load_signing_key(home, ORIGIN))
    server.grow(NEW[:2])
    server.append(NEW[2:4])


SOAK = os.environ.get("ATTESTOR_SOAK") == "1"
STRIDES = {"move": 3, "adopt": 5, "cancel": 2}
STEPS = {"move": move_once, "adopt": adopt_once, "cancel": cancel_once}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_power_cut_at_any_durable_call_leaves_one_that_signs_or_none(
    step: str, after: bool
) -> None:
    once = STEPS[step]
    with home_in_memory() as home:
        storage = home.parent / "storage"
        prepared(home, storage, step)
        counted = Faults()
        with every_durable_call(counted):
            once(home, storage)
    assert {"fsync", "rename", "commit"} <= {*counted.calls}
    assert step != "move" or {"link", "syncfs"} <= {*counted.calls}
    seen = set()
    first = 1 if SOAK else 1 + after  # every few places, others each time
    for fail_at in range(first, len(counted.calls) + 1, 1 if SOAK else STRIDES[step]):
        with home_in_memory() as home:
            storage = home.parent / "storage"
            prepared(home, storage, step)
            with pytest.raises(PowerCutError), every_durable_call(Faults(fail_at, after=after)):
                once(home, storage)
            both = (may_sign(home), may_start(storage))
            assert both != (True, True), (step, fail_at)
            seen.add(both)
            if step == "cancel" and may_sign(home):
                continue
            once(home, storage)
            assert (may_sign(home), may_start(storage)) == {
                "move": (False, True), "adopt": (True, False), "cancel": (True, False),
            }[step]  # fmt: skip
            if step == "adopt":
                assert check_home(home) == (*OLD[:3], *NEW[:4])
                assert log_bodies(home, [b"home"]).placed[0].entry_index == 7
            elif step == "move":
                key = load_signing_key(home, ORIGIN)
                assert OtherServer(storage, key).entries == OLD[:3]
    assert (False, False) in seen or step == "cancel"


def test_a_file_that_was_torn_by_a_crash_is_written_again(log: Site, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with patch.object(PosixStorage, "flush", side_effect=StoreError("the disk", reason="file")):
        log("move", "--to", storage, expect=6)
    torn = storage / "tile" / "0" / "000"
    torn.write_bytes(torn.read_bytes()[:100])
    (storage / "tile" / "entries" / "000").unlink()
    assert log("move", "--to", storage)["written"] == 2
    assert server_of(log, storage).entries == OLD


def test_a_record_of_a_move_is_spelled_in_one_way() -> None:
    note = b"note"
    for move in (Move("/srv/a b/\n\u00e4", is_done=False), Move("/srv/rekor", is_done=True)):
        raw = bytes(LastSigned("ab" * 32, 3, None, note, move))
        assert parse_last_signed(raw).move == move
        assert raw.count(b"\n\n") == 1
    raw = bytes(LastSigned("ab" * 32, 3, None, note, Move("/srv", is_done=True)))
    for wrong in (
        raw.replace(b"moved", b"gone"),
        raw.replace(b"/srv", b"%2Fsrv"),
        raw.replace(b"moved /srv", b"moved /srv\nmoved /srv"),
    ):
        with pytest.raises(MalformedError):
            parse_last_signed(wrong)
