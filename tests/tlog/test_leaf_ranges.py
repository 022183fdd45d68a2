"""Proofs that follow from proofs: of consistency through every step, of inclusion after growth."""

from __future__ import annotations

import itertools
import random

import pytest

from appliance.tlog.leaf_ranges import LeafRanges, of_consistency, of_inclusion
from appliance.tlog.merkle import Hash, TreeHead, leaf_hash, node_hash
from appliance.tlog.proof import (
    NodeId,
    build_proof,
    consistency_plan,
    inclusion_plan,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(str(index).encode()) for index in range(300)]


def node(one: NodeId) -> Hash:
    if one.height == 0:
        return LEAVES[one.index]
    start = one.index << one.height
    return range_root_of(start, start + (1 << one.height))


def range_root_of(start: int, stop: int) -> Hash:
    if stop - start == 1:
        return LEAVES[start]
    middle = start + (1 << ((stop - start - 1).bit_length() - 1))
    return node_hash(range_root_of(start, middle), range_root_of(middle, stop))


def head(size: int) -> TreeHead:
    return TreeHead(size, range_root_of(0, size))


def consistency(old: int, new: int) -> tuple[Hash, ...]:
    return build_proof(consistency_plan(old, new), node)


def inclusion(index: int, size: int) -> tuple[Hash, ...]:
    return build_proof(inclusion_plan(index, size), node)


def known(ranges: dict[tuple[int, int], Hash]) -> LeafRanges:
    def is_any_inside(start: int, stop: int) -> bool:
        return any(start <= one[0] and one[1] <= stop for one in ranges)

    return LeafRanges(lambda start, stop: ranges.get((start, stop)), is_any_inside)


def without_edges_below(ranges: dict[tuple[int, int], Hash], size: int) -> None:
    """Drop what the store drops: ranges of older trees that are no perfect subtree."""
    for start, stop in list(ranges):
        length = stop - start
        if stop < size and length & (length - 1):
            del ranges[start, stop]


@pytest.mark.parametrize("seed", range(12))
def test_every_size_on_the_way_is_proven_under_the_last(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 a test's choice
    sizes = sorted(rng.sample(range(1, 300), rng.randint(2, 12)))
    ranges: dict[tuple[int, int], Hash] = {}
    entries = [one for one in (0, sizes[0] - 1, sizes[0] // 2) if one < sizes[0]]
    for index in entries:
        proof = inclusion(index, sizes[0])
        ranges |= of_inclusion(index, LEAVES[index], head(sizes[0]), proof)
    for old, new in itertools.pairwise(sizes):
        ranges |= of_consistency(head(old), head(new), consistency(old, new))
        without_edges_below(ranges, new)
    tree, last = known(ranges), sizes[-1]
    for size in sizes:
        assert tree.root(0, size) == head(size).root_hash
        verify_consistency(head(size), head(last), tree.consistency(size, last))
    for index in entries:
        verify_inclusion(index, LEAVES[index], head(last), tree.inclusion(index, last))
    # And from what that used alone, all of it again: a prune keeps nothing else.
    kept = {place: value for place, value in ranges.items() if place in tree.used}
    again = known(kept)
    for size in sizes:
        verify_consistency(head(size), head(last), again.consistency(size, last))
    for index in entries:
        verify_inclusion(index, LEAVES[index], head(last), again.inclusion(index, last))


def test_what_was_not_proven_does_not_follow() -> None:
    ranges = of_consistency(head(5), head(11), consistency(5, 11))
    tree = known(ranges)
    with pytest.raises(LookupError):
        tree.consistency(3, 11)
    with pytest.raises(LookupError):
        tree.inclusion(1, 11)


def test_a_huge_tree_of_which_little_is_known_is_asked_in_a_few_steps() -> None:
    asked = 0

    def find(_: int, __: int) -> Hash | None:
        nonlocal asked
        asked += 1
        return None

    tree = LeafRanges(find, lambda start, stop: start <= 5 < stop)
    with pytest.raises(LookupError):
        tree.root(0, 2**40 + 12345)
    assert asked < 100
