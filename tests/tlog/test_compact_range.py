"""The compact range: appended leaf by leaf or in perfect pieces, it knows the root."""

from __future__ import annotations

import random

import pytest

from appliance.tlog.compact_range import CompactRange
from appliance.tlog.merkle import EMPTY_ROOT, Hash, TreeHead, leaf_hash, perfect_root
from tests.shared import vectors
from tests.tlog import reference

ENTRIES = [str(index).encode() for index in range(600)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def test_the_head_is_right_at_every_small_size() -> None:
    leaves = CompactRange()
    for size in range(131):
        assert leaves.head == TreeHead(size, Hash(reference.tree_hash(ENTRIES[:size])))
        assert len(leaves.peaks) == size.bit_count()
        leaves.append(LEAVES[size])


def test_the_synthetic_roots_are_the_published_ones() -> None:
    roots = {int(size): root for size, root in vectors()["synthetic"]["roots_hex"].items()}
    leaves = CompactRange()
    for size in sorted(roots):
        leaves.extend(leaf_hash(str(i).encode()) for i in range(leaves.tree_size, size))
        assert leaves.head.root_hash.hex() == roots[size], size


def test_a_range_resumes_from_its_peaks() -> None:
    whole = CompactRange()
    whole.extend(LEAVES)
    for size in range(len(LEAVES) + 1):
        first = CompactRange()
        first.extend(LEAVES[:size])
        if size % 50 == 0:
            resumed = CompactRange(size, first.peaks)
            resumed.extend(LEAVES[size:])
            assert resumed.head == whole.head


def test_resuming_does_not_change_the_peaks_it_was_given() -> None:
    peaks = (LEAVES[0],)
    CompactRange(1, peaks).append(LEAVES[1])
    assert peaks == (LEAVES[0],)


def test_perfect_pieces_of_any_height_give_the_same_root() -> None:
    chance = random.Random(6962)  # noqa: S311
    for _ in range(50):
        pieces = CompactRange()
        while (start := pieces.tree_size) < len(LEAVES):
            most = min((start & -start).bit_length() - 1 if start else 9, 9)
            height = chance.randint(0, most)
            if start + (1 << height) > len(LEAVES):
                height = 0
            piece = LEAVES[start : start + (1 << height)]
            pieces.append(perfect_root(b"".join(piece)), height)
        assert pieces.head.root_hash == reference.tree_hash(ENTRIES)


@pytest.mark.parametrize(("size", "height"), [(1, 1), (2, 2), (6, 2), (255, 8)])
def test_a_piece_that_would_straddle_is_refused(size: int, height: int) -> None:
    leaves = CompactRange()
    leaves.extend(LEAVES[:size])
    with pytest.raises(ValueError, match=f"height {height} cannot follow {size} leaves"):
        leaves.append(LEAVES[0], height)
    assert leaves.tree_size == size


@pytest.mark.parametrize(("size", "n_peaks"), [(-1, 1), (0, 1), (1, 0), (3, 1), (3, 3)])
def test_peaks_that_do_not_fit_the_size_are_refused(size: int, n_peaks: int) -> None:
    with pytest.raises(ValueError, match=f"{size} leaves do not have {n_peaks} peaks"):
        CompactRange(size, LEAVES[:n_peaks])


def test_an_empty_range_is_an_empty_tree() -> None:
    assert CompactRange().head == TreeHead(0, EMPTY_ROOT)
