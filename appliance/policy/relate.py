"""Where a candidate tree head stands next to the accepted one (docs/divergence.md).

Two heads of one log must be roots of prefixes of one tree. A stale head is a value, a log
that contradicts itself is another; bad tiles never get this far, they fail authentication.
"""

from __future__ import annotations

import enum

from appliance.tlog.merkle import Hash, TreeHead
from appliance.value import frozen


class Relation(enum.Enum):
    """Where a candidate stands on the trusted timeline."""

    FIRST = "first"  # nothing to be proven against; trusted because its key is pinned
    SAME = "same"
    AHEAD = "ahead"  # and the accepted head is a proven prefix of it
    BEHIND = "behind"  # a proven prefix of the accepted head: a stale replica


class Rule(enum.Enum):
    """Which divergence rule a contradiction breaks."""

    ROOT_MISMATCH = "RootHashMismatch"
    FORK = "TreeFork"
    ROLLBACK = "TreeSizeRollback"


@frozen
class Contradiction:
    """Two signed heads of one log that cannot both be true."""

    rule: Rule
    tree_size: int  # the smaller of both sizes: where they must agree
    expected_root: Hash  # of the head we accepted, or implied by it, at that size
    actual_root: Hash  # of the candidate there

    def __str__(self) -> str:
        return (
            f"{self.rule.value} at size {self.tree_size}: "
            f"expected root {self.expected_root.hex()}, got {self.actual_root.hex()}"
        )


def relate(
    accepted: TreeHead | None, candidate: TreeHead, prefix_root: Hash | None
) -> Relation | Contradiction:
    """Place `candidate` next to the accepted head.

    `prefix_root` is the root that the larger tree has at the smaller size, from tiles
    authenticated under the larger head, or from a proof. It may be None where there is nothing
    to compare: nothing was accepted, or the sizes are equal. Who cannot compute it has nothing
    to say of the candidate, for it or against it. Raises ValueError if it is missing.
    """
    if accepted is None:
        return Relation.FIRST
    if candidate.tree_size == accepted.tree_size:
        if candidate.root_hash == accepted.root_hash:
            return Relation.SAME
        return Contradiction(
            Rule.ROOT_MISMATCH, accepted.tree_size, accepted.root_hash, candidate.root_hash
        )
    if prefix_root is None:
        raise ValueError("a head of another size is placed by the root where both must agree")
    if candidate.tree_size > accepted.tree_size:
        if prefix_root == accepted.root_hash:
            return Relation.AHEAD
        return Contradiction(Rule.FORK, accepted.tree_size, accepted.root_hash, prefix_root)
    if prefix_root == candidate.root_hash:
        return Relation.BEHIND
    return Contradiction(Rule.ROLLBACK, candidate.tree_size, prefix_root, candidate.root_hash)
