"""What workers hash while a bundle is staged, what they place, and what they leave to us."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import pytest

from appliance.jobs.transfer.staged_tiles import (
    TILE_BYTES,
    StagedBatch,
    StagedTile,
    StagedTiles,
    place_batch,
    root_batch,
)
from appliance.jobs.workers import AHEAD, Workers
from appliance.store.blobs import Blobs
from appliance.store.database import Store
from appliance.store.mirror.logs import all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.merkle import perfect_root
from appliance.tlog.tile import Tile
from bundles.members import MemberRef
from tests.mirror.mirrors import make_mirror
from tests.simulator import SimulatedLog

GOOD = b"g" * TILE_BYTES
OTHER = b"o" * TILE_BYTES
AT = 512  # where they stand in the copy: GOOD, then OTHER


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    found = Blobs(tmp_path / "blobs" / "sha256")
    found.create()
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_mirror(tmp_path / "home", SimulatedLog()).store
    yield made
    made.close()


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[BinaryIO]:
    with (tmp_path / "copy").open("w+b") as file:
        file.write(bytes(AT) + GOOD + OTHER)
        file.flush()
        yield file


def staged(data: bytes, offset: int = AT) -> StagedTile:
    return StagedTile(offset, sha256(data).digest())


def place(copy: BinaryIO, blobs: Blobs, *tiles: StagedTile | None) -> list[bool] | None:
    return place_batch(StagedBatch(copy.fileno(), tiles, str(blobs.root)))


WRONG = [
    pytest.param(staged(GOOD, AT + 1), id="not the bytes of this digest"),
    pytest.param(staged(OTHER), id="another digest"),
    pytest.param(staged(GOOD, AT + TILE_BYTES + 1), id="cut short"),
    pytest.param(None, id="none"),
]


def test_a_tile_is_placed_once(copy: BinaryIO, blobs: Blobs) -> None:
    for _ in range(2):
        assert place(copy, blobs, staged(GOOD), None) == [True, False]
    assert blobs.get(sha256(GOOD).digest()) == GOOD
    assert [file.digest for file in blobs.files()] == [sha256(GOOD).digest()]


@pytest.mark.parametrize("tile", WRONG)
def test_what_is_not_what_was_staged_is_neither_hashed_nor_placed(
    copy: BinaryIO, blobs: Blobs, tile: StagedTile | None
) -> None:
    assert place(copy, blobs, tile, staged(GOOD)) == [False, True]
    assert [file.digest for file in blobs.files()] == [sha256(GOOD).digest()]
    roots = root_batch(StagedBatch(copy.fileno(), [tile, staged(GOOD)]))
    assert roots == bytes(32) + perfect_root(GOOD)


def test_what_is_damaged_in_its_place_is_put_right(copy: BinaryIO, blobs: Blobs) -> None:
    path = blobs.path(sha256(GOOD).digest())
    path.write_bytes(GOOD[:100])
    assert place(copy, blobs, staged(GOOD)) == [True]
    assert path.read_bytes() == GOOD
    assert [file.is_temporary for file in blobs.files()] == [False]


def test_a_directory_that_cannot_be_written_is_left_to_whoever_asked(
    copy: BinaryIO, blobs: Blobs
) -> None:
    blobs.path(sha256(GOOD).digest()).parent.rmdir()
    tiles = [staged(OTHER, AT + TILE_BYTES), staged(GOOD)]
    assert place(copy, blobs, *tiles) is None


@pytest.mark.parametrize("n_tiles", [0, 1, 512, 513, (AHEAD + 1) * 2 * 512 + 5])
def test_roots_are_hashed_while_more_is_staged(tmp_path: Path, store: Store, n_tiles: int) -> None:
    tiles = [bytes([number % 256, number // 256]) * (TILE_BYTES // 2) for number in range(n_tiles)]
    with (tmp_path / "growing").open("w+b") as copy, Workers(2, [copy.fileno()]) as workers:
        it = StagedTiles(copy, workers)
        for data in tiles:
            offset = copy.tell() + 512
            copy.write(bytes(512) + data + b"12345")
            it.passed(MemberRef(offset, TILE_BYTES, sha256(data).digest()))
            it.passed(MemberRef(offset + TILE_BYTES, 5, sha256(b"12345").digest()))
        assert len(it._offsets) == n_tiles // 512 * 512  # asked for before anybody wants them
        at = [512 + number * (512 + TILE_BYTES + 5) for number in range(n_tiles)]
        assert [it.root(offset) for offset in at] == [perfect_root(data) for data in tiles]
        assert it.root(at[-1] + TILE_BYTES if at else 0) is None
        copy.flush()
        batches = [[staged(data, offset)] for data, offset in zip(tiles, at, strict=True)][:9]
        [*digests] = it.place(store, batches)
        assert digests == [[tile.digest for tile in batch] for batch in batches]


def test_a_copy_that_changes_after_it_was_staged_is_not_placed(
    copy: BinaryIO, store: Store
) -> None:
    with Workers(2, [copy.fileno()]) as workers:
        it = StagedTiles(copy, workers)
        it.passed(MemberRef(AT, TILE_BYTES, sha256(GOOD).digest()))
        assert it.root(AT) == perfect_root(GOOD)
        os.pwrite(copy.fileno(), b"!", AT + 100)
        assert list(it.place(store, [[staged(GOOD)]])) == [[None]]
    assert list(store.blobs.files()) == []


def test_where_a_worker_fails_nothing_is_left_that_could_be_taken_for_durable(
    copy: BinaryIO, store: Store
) -> None:
    good, other = sha256(GOOD).digest(), sha256(OTHER).digest()
    for digest, data in ((good, GOOD), (other, OTHER)):  # of a run that was killed
        store.blobs.path(digest).write_bytes(data)
    [log] = all_logs(store)
    Mirror(store, log).add_placed({Tile(0, 0): other})
    third = bytes(TILE_BYTES)
    copy.write(third)
    directory = store.blobs.path(sha256(third).digest()).parent
    directory.rmdir()
    tiles = [staged(GOOD), staged(OTHER, AT + TILE_BYTES), staged(third, AT + 2 * TILE_BYTES)]
    with Workers(2, [copy.fileno()]) as workers:
        it = StagedTiles(copy, workers)
        copy.flush()
        assert list(it.place(store, [tiles])) == [[None, None, None]]
    # Only what a row names stays: that was durable when the row was written.
    assert [file.digest for file in store.blobs.files()] == [other]
