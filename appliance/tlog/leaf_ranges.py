"""Hashes of leaf ranges, each proven, and the proofs that follow from them.

A log without tiles proves one thing at a time: that a tree is a prefix of another, that an entry
is in one. Every hash in such a proof is the root of a range of leaves as RFC 9162 section 2.1
divides a tree. Kept together they answer more than was asked: a range follows from its halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from appliance.tlog.merkle import Hash, TreeHead, node_hash
from appliance.tlog.proof import consistency_plan, inclusion_plan, split_point


def of_consistency(
    old: TreeHead, new: TreeHead, proof: Sequence[Hash]
) -> dict[tuple[int, int], Hash]:
    """Return the ranges (first leaf, one beyond the last) that a verified proof gives hashes of.

    Both roots are among them. Raises ValueError for a proof of another length.
    """
    plan = consistency_plan(old.tree_size, new.tree_size)
    found = {(one.start, one.stop): value for one, value in zip(plan, proof, strict=True)}
    for head in (old, new):
        if head.tree_size:
            found[0, head.tree_size] = head.root_hash
    return found


def of_inclusion(
    entry_index: int, leaf: Hash, head: TreeHead, proof: Sequence[Hash]
) -> dict[tuple[int, int], Hash]:
    """Return the ranges that a verified inclusion proof gives hashes of, leaf and root among them.

    Raises ValueError for a proof of another length.
    """
    plan = inclusion_plan(entry_index, head.tree_size)
    found = {(one.start, one.stop): value for one, value in zip(plan, proof, strict=True)}
    found[entry_index, entry_index + 1] = leaf
    found[0, head.tree_size] = head.root_hash
    return found


class LeafRanges:
    """What is known of a log's trees, by range of leaves.

    `find` gives the hash of a range; `is_any_inside` says whether one is known of any part of
    a range, so that nothing is looked for in a part of the tree of which nothing is known.
    """

    def __init__(
        self,
        find: Callable[[int, int], Hash | None],
        is_any_inside: Callable[[int, int], bool],
    ) -> None:
        self._find = find
        self._is_any_inside = is_any_inside
        self.used: set[tuple[int, int]] = set()  # the known ranges that answers came from

    def root(self, start: int, stop: int) -> Hash:
        """Return the hash of a range of a tree's; raises LookupError if it does not follow."""
        known = self._find(start, stop)
        if known is not None:
            self.used.add((start, stop))
            return known
        if stop - start < 2 or not self._is_any_inside(start, stop):
            raise LookupError(start, stop)
        middle = start + split_point(stop - start)
        # The right half first: it is the smaller, and what is not known is found out sooner.
        right = self.root(middle, stop)
        return node_hash(self.root(start, middle), right)

    def consistency(self, old_size: int, new_size: int) -> tuple[Hash, ...]:
        """Build a consistency proof; raises LookupError if it does not follow."""
        plan = consistency_plan(old_size, new_size)
        return tuple(self.root(one.start, one.stop) for one in plan)

    def inclusion(self, entry_index: int, tree_size: int) -> tuple[Hash, ...]:
        """Build an inclusion proof; raises LookupError if it does not follow."""
        plan = inclusion_plan(entry_index, tree_size)
        return tuple(self.root(one.start, one.stop) for one in plan)
