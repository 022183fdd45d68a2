"""Two sites over many rounds in which sticks are lost, late, repeated and out of order."""

from __future__ import annotations

import os
import random
import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliance.store.database import open_store
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.tile import edge_tiles, new_entry_bundles, new_tiles
from tests.transfer.sites import INSIDE, OUTSIDE, Sites

ROUNDS = int(os.environ.get("ATTESTOR_ROUNDS", "80"))
SEEDS = [int(one) for one in os.environ.get("ATTESTOR_SEEDS", "20261124").split(",")]
GROWTH = (0, 1, 3, 60, 255, 256, 700, 2000)
ENTRIES = ("--include-entries", "--no-entries")


class Rounds:
    """What happens in the rounds, and what was true after each."""

    def __init__(self, sites: Sites, seed: int) -> None:
        self.sites = sites
        self.random = random.Random(seed)  # noqa: S311 an order, no secret
        self.late: list[Path] = []  # sticks that come another day
        self.count = 0
        self.gaps = 0
        self.ratios: list[float] = []

    def one(self) -> None:
        """The log grows; something is exported; it arrives, or what else happens to sticks."""
        chance = self.random.random()
        self.sites.grow(self.random.choice(GROWTH))
        files = self._export()
        if chance < 0.45:
            self._deliver(files)
        elif chance < 0.6:
            self.late += files
        elif chance < 0.7:  # late ones first, in any order
            arriving = [*self.late, *files]
            self.late = []
            self.random.shuffle(arriving)
            for file in arriving:
                self._import(file)
        elif chance < 0.8:  # each twice
            self._deliver([*files, *files])
        # else: lost

    def _export(self) -> list[Path]:
        self.count += 1
        entries = self.random.choice(ENTRIES)
        volumes = ["--volume-size", "110K"] if self.random.random() < 0.25 else []
        start = self.random.choice([[]] * 4 + [["--full"]] + [["--overlap", "1"]] * 4)
        end = "tar.zst" if not volumes else "tar"
        name = self.sites.stick(f"stick-{self.count}.{end}")
        done = self.sites.json(OUTSIDE, "export", entries, *volumes, *start, "--output", name)
        files = [Path(one["path"]) for one in done["volumes"]]
        if not volumes:
            self._weigh(files[0], done["logs"][0], with_entries=entries == ENTRIES[0])
        return files

    def _weigh(self, file: Path, part: dict[str, Any], *, with_entries: bool) -> None:
        """A delta is hardly larger than the new tiles and entries themselves."""
        base, head = part["baseSize"] or 0, part["headSize"]
        with closing(open_store(self.sites.home(OUTSIDE), write=False)) as store:
            mirror = Mirror(store, require_log(store, self.sites.log.origin))
            bundles = list(new_entry_bundles(base, head)) if with_entries else []
            implied = {bundle.tile for bundle in bundles}
            # The right edge is always there, new or not.
            tiles = {*new_tiles(base, head), *edge_tiles(head)} - implied
            n_bytes = sum(tile.width * HASH_BYTES for tile in tiles)
            n_bytes += sum(found[1] for one in bundles if (found := mirror.entry_bundle_blob(one)))
        size = file.stat().st_size
        assert size <= 1.03 * n_bytes + 4096, (part, size, n_bytes)
        self.ratios.append((size - 4096) / n_bytes if n_bytes else 0)

    def _deliver(self, files: list[Path]) -> None:
        """After a delivery the inner head is the outer one, or the gap is named and filled."""
        outer = self.sites.head(OUTSIDE)
        fill = ""
        for file in files:
            fill = self._import(file)
        if fill:
            self._fill(fill)
        assert self.sites.head(INSIDE) == outer
        chance = self.random.random()
        if chance < 0.15:
            receipts = self.sites.home(INSIDE).glob("receipts/*")
            newest = max(receipts, key=lambda one: one.stat().st_mtime_ns)
            self.sites.json(OUTSIDE, "receipt", "accept", newest)
        elif chance < 0.25 and not fill:
            self.sites.json(OUTSIDE, "receipt", "accept", "--code", self.code, "--site", INSIDE)
        elif chance < 0.35:  # receipts, and what is held, come back by themselves
            back = self.sites.stick(f"back-{self.count}.tar")
            self.sites.json(INSIDE, "export", "--no-tiles", "--output", back)
            self.sites.json(OUTSIDE, "import", back)

    def _import(self, file: Path) -> str:
        """Import one file; return the command that fills the gap it leaves, if it does."""
        before = self.sites.size(INSIDE)
        answer = self.sites.answer(INSIDE, "import", file)
        assert self.sites.size(INSIDE) >= before
        if answer["exitCode"] == 5:
            assert answer["error"]["reason"] == "missing-base"
            return str(answer["error"]["next"]).partition("run: ")[2]
        assert answer["exitCode"] == 0, answer
        [done] = answer["data"]["imports"]
        self.code = done["receiptCode"]
        return str(done["logs"][0]["fill"])

    def _fill(self, command: str) -> None:
        self.gaps += 1
        program, *words = shlex.split(command)
        assert program == "attestor"
        file = Path(words[-1])
        file.unlink(missing_ok=True)
        self.sites.json(OUTSIDE, *words)
        assert self._import(file) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_only_forward_and_every_gap_is_named_with_the_command_that_fills_it(
    sites: Sites, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sites.directory)
    rounds = Rounds(sites, seed)
    for _ in range(ROUNDS):
        rounds.one()
    files = rounds._export()
    rounds._deliver(files)
    assert rounds.gaps > ROUNDS // 40
    largest = max(rounds.ratios)
    with sites.capsys.disabled():
        print(  # noqa: T201 to run it again
            f"\nseed {seed}: {ROUNDS} rounds, {rounds.gaps} gaps filled, largest delta"
            f" {largest:.3f} of the theory, without its 4 KiB"
        )
    sites.json(INSIDE, "tiles", "verify")
