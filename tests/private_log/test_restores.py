"""A private log killed under load, then restored at random, again and again: never two trees.

A short run always; with ATTESTOR_SOAK=1 two hundred kills, and SOAK_LOG says how far it is.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.store.database import DATABASE_NAME, open_store
from appliance.store.home.key_files import read_last_record
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import parse_last_signed
from appliance.store.private_log.memory import recall
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.checkpoint import open_checkpoint
from tests.private_log.private_homes import ORIGIN, reboot
from tests.private_log.test_log import Site
from tests.private_log.test_recover import backup, static_tree
from tests.serve.running_log import RunningLog
from tests.serve.signed_requests import signed_request

KILLS: Final = 200 if os.environ.get("ATTESTOR_SOAK") == "1" else 8
SOAK_LOG: Final = Path(tempfile.gettempdir()) / "attestor-restores.txt"  # how far a soak is
KINDS: Final = (
    *("none", "in-place", "elsewhere", "database", "backup-keys", "backup-no-keys", "older-copy"),
    "snapshot",
)


class Witness:
    """Remembers every root that was ever signed, wherever the note lies.

    A batch can be signed and not yet published when the server is killed. Nobody was told of
    it; if the machine is then booted and the home put back, nothing knows of it any more.
    """

    def __init__(self, home: Path) -> None:
        store = open_store(home, write=False)
        self.key = require_private_log(store, None).log.keys[0]
        store.close()
        self.roots: dict[int, bytes] = {}
        self.unpublished: dict[int, bytes] = {}  # signed in this boot, for all that we know
        self.acknowledged: dict[int, bytes] = {}  # by index: the body that got a 201

    def see(self, note: bytes) -> None:
        head = open_checkpoint(note, [self.key], ORIGIN).head
        known = self.roots.setdefault(head.tree_size, head.root_hash)
        signed = self.unpublished.get(head.tree_size, known)
        assert known == signed == head.root_hash, f"two roots for size {head.tree_size}"

    def see_signed(self, note: bytes) -> None:
        head = open_checkpoint(note, [self.key], ORIGIN).head
        known = self.roots.get(head.tree_size, head.root_hash)
        signed = self.unpublished.setdefault(head.tree_size, head.root_hash)
        assert known == signed == head.root_hash, f"two roots for size {head.tree_size}"

    def reboot(self) -> None:
        reboot()
        self.unpublished.clear()

    def look(self, home: Path) -> None:
        memory = recall(self.key)
        if memory is not None:
            self.see_signed(memory.record.note)
        record = read_last_record(home, ORIGIN)
        if record is not None:
            self.see_signed(parse_last_signed(record).note)
        store = open_store(home, write=False)
        history = Mirror(store, require_private_log(store, None).log).history
        for size in history.accepted_sizes():
            for note in history.notes(size):
                self.see(note)
        store.close()


def load_until_killed(home: Path, witness: Witness, chance: random.Random) -> None:
    server = RunningLog(home)
    number = [0]

    def client(salt: int) -> None:
        while True:
            number[0] += 1
            try:
                status, answer = server.post(signed_request(b"%d %d" % (salt, number[0])))
            except (OSError, ValueError):
                return
            except Exception:  # noqa: BLE001 the server died in the middle of its answer
                return
            if status == 201:
                proof = answer["inclusionProof"]["checkpoint"]["envelope"].encode()
                witness.see(proof)
                index, body = int(answer["logIndex"]), answer["canonicalizedBody"].encode()
                assert witness.acknowledged.setdefault(index, body) == body

    threads = [
        threading.Thread(target=client, args=(chance.getrandbits(60),), daemon=True)
        for _ in range(3)
    ]
    for one in threads:
        one.start()
    time.sleep(0.2 + 0.6 * chance.random())
    server.kill()
    for one in threads:
        one.join(30)


def restore(kind: str, home: Path, saved: dict[str, Path], chance: random.Random) -> None:
    """Put the home back the way `kind` says, from what was saved before the load."""
    if kind == "in-place":
        shutil.copytree(saved["copy"], home, dirs_exist_ok=True)
    elif kind in ("elsewhere", "older-copy"):
        shutil.rmtree(home)
        shutil.copytree(saved["copy" if kind == "elsewhere" else "older"], home)
    elif kind == "database":
        shutil.copy(saved["database"], home / DATABASE_NAME)
        (home / f"{DATABASE_NAME}-journal").unlink(missing_ok=True)
    elif kind == "backup-keys":
        if chance.random() < 0.5:
            shutil.rmtree(home)
        shutil.copytree(saved["whole"], home, dirs_exist_ok=True)
    elif kind == "backup-no-keys":
        shutil.copytree(saved["blobs"], home, dirs_exist_ok=True)
    elif kind == "snapshot":
        # Just what was there then, in the directories that were there all the time.
        for path in sorted(home.rglob("*"), reverse=True):
            if path.is_file():
                path.unlink()
        shutil.copytree(saved["copy"], home, dirs_exist_ok=True)
    if kind != "none":
        (home / f"{DATABASE_NAME}-journal").unlink(missing_ok=True)


def answer(log: Site, *words: str | Path) -> dict[str, Any]:
    from appliance.cli.main import run
    from appliance.runs.session import Session

    code = run(["log", *map(str, words), "--json"], Session(home=log.home))
    found: dict[str, Any] = json.loads(log.capsys.readouterr().out)
    assert found["exitCode"] == code
    return found


def test_no_restore_makes_a_fork_and_none_is_without_a_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(12)  # noqa: S311 the same lives each time
    log = Site(tmp_path / "home", capsys)
    log("create", "build", "--origin", ORIGIN)
    witness = Witness(log.home)
    saved: dict[str, Path] = {}
    outcomes: dict[str, int] = {}
    for life in range(KILLS):
        place = tmp_path / f"life-{life}"
        place.mkdir()
        now = {
            "copy": shutil.copytree(log.home, place / "copy"),
            "database": backup(log, place / "database"),
            "whole": backup(log, place / "whole", "--with-blobs", "--with-keys"),
            "blobs": backup(log, place / "blobs", "--with-blobs"),
        }
        now["older"] = saved.get("copy", now["copy"])
        load_until_killed(log.home, witness, chance)
        newest = shutil.copytree(log.home, place / "newest")
        witness.look(newest)
        mirror = None
        if chance.random() < 0.5:
            mirror = static_tree(newest, place / "mirror")
        kind = KINDS[life % len(KINDS)]
        restore(kind, log.home, now, chance)
        if mirror is not None and chance.random() < 0.3:
            witness.reboot()
            found = answer(log, "recover", "--source", mirror)
        else:
            found = answer(log, "recover")
        for words in ((), ("--source", mirror), ("--only-copy",)):
            if found["exitCode"] == 0:
                break
            assert found["exitCode"] in (5, 6, 8), found
            assert found["exitCode"] != 8 or "log recover" in found["error"]["next"]
            if words and words[-1] is None:
                continue
            found = answer(log, "recover", *words)
        way = "recovered"
        if found["exitCode"] != 0:
            # What the last line names: the newest backup. Here it is the home that was killed.
            assert "backup" in found["error"]["next"], found
            shutil.rmtree(log.home)
            shutil.copytree(newest, log.home)
            found = answer(log, "recover", "--only-copy")
            assert found["exitCode"] == 0, found
            way = "newer backup"
        outcomes[f"{kind}: {way}"] = outcomes.get(f"{kind}: {way}", 0) + 1
        witness.look(log.home)
        for one in (saved.get("copy"), *(now[key] for key in ("database", "whole", "blobs"))):
            if one is not None and one.is_dir():
                shutil.rmtree(one)
        shutil.rmtree(newest)
        saved = now
        if len(KINDS) < KILLS:
            told = f"{life + 1} {outcomes} {len(witness.acknowledged)} {len(witness.roots)}\n"
            SOAK_LOG.write_text(told)
    assert len(witness.acknowledged) >= KILLS
