"""Random lives of a log that is appended to, moved, grown there, adopted, backed up and put back.

Whatever an operator does in whatever order, at any time at most one may sign, and no size ever
has two roots. Three lives always; with ATTESTOR_SOAK=1 twenty, and longer ones.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from appliance.errors import ApplianceError
from appliance.jobs.private_log.sequence import Standing, standing
from appliance.store.database import open_store
from appliance.store.home.key_files import load_signing_key
from appliance.store.private_log.private_logs import require_private_log
from tests.private_log.other_server import OtherServer
from tests.private_log.private_homes import ORIGIN, check_home, log_bodies, reboot
from tests.private_log.test_log import Site
from tests.private_log.test_recover import backup, restore
from tests.private_log.test_restores import Witness, answer

SOAK: Final = os.environ.get("ATTESTOR_SOAK") == "1"
LIVES: Final = 20 if SOAK else 3
STEPS: Final = 40 if SOAK else 14
DOINGS: Final = (
    *("append", "append", "move", "move", "grow", "grow", "append there", "adopt", "adopt"),
    *("backup", "copy", "restore", "restore elsewhere", "recover", "recover only copy", "cancel"),
)


class Life:
    def __init__(self, directory: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.chance = random.Random(seed)  # noqa: S311 the same lives each time
        reboot()
        self.log = Site(directory / "home", capsys)
        self.log("create", "build", "--origin", ORIGIN)
        self.witness = Witness(self.log.home)
        self.key = load_signing_key(self.log.home, ORIGIN)
        self.storages: list[Path] = []
        self.saved: list[Path] = []
        self.number = 0
        self.outcomes: Counter[str] = Counter()
        self.done: list[str] = []  # in order, for whoever has to look

    def body(self) -> bytes:
        self.number += 1
        return b"entry %d" % self.number

    def do(self, doing: str) -> None:
        home, log = self.log.home, self.log
        name = self.directory / f"{self.number}-{sum(self.outcomes.values())}"
        outcome = "done"
        if doing == "append":
            try:
                log_bodies(home, [self.body() for _ in range(self.chance.choice((1, 3, 130)))])
            except ApplianceError as error:
                outcome = error.reason
        elif doing == "move":
            going = answer(log, "status")["data"]["logs"][0]["movedTo"]
            to = name if going is None or self.chance.random() < 0.5 else Path(going)
            outcome = str(answer(log, "move", "--to", to)["exitCode"])
            self.storages += [to] if to.exists() and to not in self.storages else []
        elif doing in ("grow", "append there"):
            # Whatever server can start is started.
            for storage in self.storages:
                try:
                    server = OtherServer(storage, self.key)
                    server.append([self.body() for _ in range(self.chance.choice((1, 5)))])
                    if doing == "grow":
                        server.publish()
                    outcome = "grew"
                except (ValueError, FileNotFoundError):
                    continue
        elif doing == "adopt":
            if self.storages:
                storage = self.chance.choice(self.storages)
                outcome = str(answer(log, "adopt", storage)["exitCode"])
        elif doing == "backup":
            self.saved.append(backup(log, name, "--with-blobs", "--with-keys"))
        elif doing == "copy":
            self.saved.append(shutil.copytree(home, name))
        elif doing.startswith("restore"):
            if self.saved:
                if doing != "restore":
                    shutil.rmtree(home)
                restore(self.chance.choice(self.saved), home)
                (home / "attestor.db-journal").unlink(missing_ok=True)
        else:
            words = {
                "recover": ("recover",),
                "recover only copy": ("recover", "--only-copy"),
                "cancel": ("move", "--cancel"),
            }[doing]
            outcome = str(answer(log, *words)["exitCode"])
        self.outcomes[f"{doing}: {outcome}"] += 1
        self.done.append(f"{doing}: {outcome}")
        self.look()

    def look(self) -> None:
        self.witness.look(self.log.home)
        for storage in self.storages:
            if (storage / "checkpoint").exists():
                self.witness.see((storage / "checkpoint").read_bytes())
        signers = [str(one) for one in self.storages if may_start(one)]
        signers += ["home"] if may_sign(self.log.home) else []
        assert len(signers) <= 1, f"{signers}: {chr(59).join(self.done)}"


def may_sign(home: Path) -> bool:
    store = open_store(home, write=False)
    try:
        return standing(store, require_private_log(store, None)) in (
            *(Standing.PUBLISHED, Standing.SIGNED),
        )
    except ApplianceError:
        return False
    finally:
        store.close()


def may_start(storage: Path) -> bool:
    version = storage / ".state" / "version"
    return version.exists() and version.read_text() == "1"


def test_no_life_has_two_who_sign_or_two_roots_for_one_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.runs.log_move.PAUSE_SECONDS", 0.0)
    outcomes: Counter[str] = Counter()
    for seed in range(LIVES):
        (tmp_path / str(seed)).mkdir()
        life = Life(tmp_path / str(seed), seed, capsys)
        # Each begins with what it is about, and then does as it likes.
        for doing in ("append", "copy", "move", "grow", "backup"):
            life.do(doing)
        for _ in range(STEPS):
            life.do(life.chance.choice(DOINGS))
        outcomes += life.outcomes
        # There is a way home: the storage that can sign, or else the home itself.
        starting = [one for one in life.storages if may_start(one)]
        if starting:
            found = answer(life.log, "adopt", starting[0])
            assert found["exitCode"] == 0, found
            life.look()
        if may_sign(life.log.home):
            life.do("append")
            check_home(life.log.home)
    assert outcomes["move: 0"] and outcomes["grow: grew"] and outcomes["adopt: 0"], outcomes
    assert outcomes["append: restored"], outcomes
