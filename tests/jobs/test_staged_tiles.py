"""What a worker places, and what it leaves to whoever asked."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from appliance.jobs.staged_tiles import TILE_BYTES, StagedBatch, StagedTile, place_batch
from appliance.store.blobs import Blobs, Placed
from appliance.tlog.merkle import Hash, perfect_root

GOOD = os.urandom(TILE_BYTES)
OTHER = os.urandom(TILE_BYTES)
AT = 512  # where they stand in the copy: GOOD, then OTHER


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    found = Blobs(tmp_path / "blobs" / "sha256")
    found.create()
    return found


def ask(tmp_path: Path, blobs: Blobs, *tiles: StagedTile | None) -> list[Placed | None]:
    copy = tmp_path / "copy"
    copy.write_bytes(bytes(AT) + GOOD + OTHER)
    with copy.open("rb") as file:
        return place_batch(StagedBatch(file.fileno(), str(blobs.root), tiles))


def staged(data: bytes, offset: int = AT, root: bytes = perfect_root(GOOD)) -> StagedTile:
    return StagedTile(offset, sha256(data).digest(), Hash(root))


def test_a_tile_that_is_what_it_has_to_be_is_placed_once(tmp_path: Path, blobs: Blobs) -> None:
    for is_new in (True, False):
        [first, nothing] = ask(tmp_path, blobs, staged(GOOD), None)
        assert first == Placed(sha256(GOOD).digest(), is_new)
        assert nothing is None
    assert blobs.get(sha256(GOOD).digest()) == GOOD
    assert [file.is_temporary for file in blobs.files()] == [False]


@pytest.mark.parametrize(
    "tile",
    [
        pytest.param(staged(OTHER, AT + TILE_BYTES), id="another root than its parent has"),
        pytest.param(staged(GOOD, root=bytes(32)), id="a parent that names another"),
        pytest.param(staged(GOOD, AT + 1), id="not the bytes of this digest"),
        pytest.param(staged(GOOD, AT + TILE_BYTES + 1), id="cut short"),
    ],
)
def test_nothing_else_is(tmp_path: Path, blobs: Blobs, tile: StagedTile) -> None:
    assert ask(tmp_path, blobs, tile) == [None]
    assert list(blobs.files()) == []


def test_what_is_damaged_in_its_place_is_put_right(tmp_path: Path, blobs: Blobs) -> None:
    path = blobs.path(sha256(GOOD).digest())
    path.write_bytes(GOOD[:100])
    assert ask(tmp_path, blobs, staged(GOOD)) == [Placed(sha256(GOOD).digest(), is_new=True)]
    assert path.read_bytes() == GOOD


def test_a_directory_that_cannot_be_written_is_left_to_whoever_asked(
    tmp_path: Path, blobs: Blobs
) -> None:
    path = blobs.path(sha256(GOOD).digest())
    path.parent.rmdir()
    assert ask(tmp_path, blobs, staged(GOOD)) == [None]
    assert list(blobs.files()) == []
