"""Proofs from one open store: what was authenticated for one is there for the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from appliance.jobs import our_tree
from appliance.jobs.mirror.prove import prove_inclusion
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.proof import verify_inclusion
from appliance.tlog.tile import Tile
from appliance.value import replaced
from tests.mirror.mirrors import make_mirror, sync_from
from tests.simulator import SimulatedLog

SIZE = 66_000  # three levels


class CountingMirror(Mirror):
    """Remembers which tiles were read."""

    def read_tiles(self, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        self.seen = [*getattr(self, "seen", []), *wanted]
        return super().read_tiles(wanted)


def mirrored(tmp_path: Path, log: SimulatedLog) -> CountingMirror:
    log.grow(str(index).encode() for index in range(SIZE))
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    return CountingMirror(mirror.store, mirror.log)


def verified(mirror: Mirror, log: SimulatedLog, index: int) -> None:
    proof = prove_inclusion(mirror, index)
    verify_inclusion(index, leaf_hash(str(index).encode()), log.head, proof.hashes)


def test_a_second_proof_reads_one_tile_and_verifies(tmp_path: Path) -> None:
    log = SimulatedLog()
    mirror = mirrored(tmp_path, log)
    verified(mirror, log, 5)
    first, mirror.seen = mirror.seen, []
    verified(mirror, log, 300)
    assert mirror.seen == [Tile(0, 1)]
    assert {Tile(0, 0), Tile(1, 0)} <= set(first)
    for index in (0, 255, 256, 1_000, 65_535, 65_536, SIZE - 1):
        verified(mirror, log, index)


def test_another_head_is_another_tree(tmp_path: Path) -> None:
    log = SimulatedLog()
    mirror = mirrored(tmp_path, log)
    verified(mirror, log, 5)
    for more in range(4):
        log.grow([b"more %d" % more])
        sync_from(mirror, log)
        verified(mirror, log, 5)
    trees = mirror.store.remembered[our_tree._TREES]
    assert [head.tree_size for _, head in trees] == [SIZE + 3, SIZE + 4]


def test_no_more_tiles_are_held_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(our_tree, "_MOST_TILES", 8)
    log = SimulatedLog()
    mirror = mirrored(tmp_path, log)
    for index in range(0, SIZE, 1_000):
        verified(mirror, log, index)
        [tree] = mirror.store.remembered[our_tree._TREES].values()
        assert len(tree._tiles) <= 8 + 2


def test_a_key_that_is_not_pinned_any_more_proves_nothing(tmp_path: Path) -> None:
    log = SimulatedLog()
    mirror = mirrored(tmp_path, log)
    verified(mirror, log, 5)
    with pytest.raises(ApplianceError):
        prove_inclusion(Mirror(mirror.store, replaced(mirror.log, keys=())), 5)
