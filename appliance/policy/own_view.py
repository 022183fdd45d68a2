"""A Sigstore bundle's log entry against our own copy of the log (docs/verification.md).

A bundle proves that a log signed a checkpoint over its entry. Whether that is the tree we
mirror is what nobody but us can say.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from appliance.tlog.merkle import Hash, TreeHead
from appliance.value import frozen


class Coverage(enum.Enum):
    """What our mirror says about an entry."""

    COVERED = "covered"  # our tree holds it, and the bundle's checkpoint is a prefix of ours
    NEWER = "newer"  # the bundle's checkpoint is ahead of our mirror
    UNKNOWN_LOG = "unknown-log"  # we mirror nothing of this log
    NO_CHECKPOINT = "no-checkpoint"  # the bundle gives no position in a tree
    TILES_MISSING = "tiles-missing"  # within our size, but not in the tiles we hold
    NO_STORE = "no-store"  # there is no home here
    NOT_COMPARED = "not-compared"  # it did not verify, so there is nothing to compare
    CONTRADICTION = "contradiction"  # both signed, and they cannot both be true


@frozen
class OwnView:
    """What our mirror says about one entry."""

    coverage: Coverage
    text: str  # for people
    mirror_size: int | None = None  # of our accepted checkpoint; None: we have none
    expected_root: Hash | None = None  # a contradiction: our root at the bundle's size


def compare(
    entry_index: int,
    leaf: Hash,
    theirs: TreeHead,
    ours: TreeHead,
    read_leaf: Callable[[int], Hash],
    read_root: Callable[[int], Hash],
) -> OwnView:
    """Compare an entry, proven under `theirs`, with our tree.

    `read_leaf` and `read_root` give our tree's leaf and our root at a size, from tiles
    authenticated under `ours`; what they raise passes through.
    """
    size = ours.tree_size
    if theirs.tree_size > size:
        return OwnView(
            Coverage.NEWER,
            f"not covered: its checkpoint has {theirs.tree_size:,} entries, our mirror {size:,}",
            size,
        )
    root = read_root(theirs.tree_size)
    if root != theirs.root_hash:
        return OwnView(
            Coverage.CONTRADICTION,
            f"the log signed root {theirs.root_hash.hex()} for size {theirs.tree_size:,}; "
            f"our tree has {root.hex()} there",
            size,
            root,
        )
    # The root is ours, so the leaf can only differ if a tile or this program is wrong.
    if read_leaf(entry_index) != leaf:
        raise ValueError(f"leaf {entry_index} differs under one root {root.hex()}")
    return OwnView(
        Coverage.COVERED,
        f"covered by our mirror up to {size:,}: it holds entry {entry_index:,}, "
        "and its checkpoint is a prefix of ours",
        size,
    )


def rests_on_common_ground(
    coverage: Coverage, entry_index: int | None, tree_size: int | None, last_common_size: int
) -> bool:
    """Whether an entry and its proof are true in every story that a quarantined log tells.

    `tree_size` is the proof's; None: there is no proof. Either the proof is of a tree that
    all stories share, or our own tree holds the entry where they still agree.
    """
    if tree_size is not None and tree_size <= last_common_size:
        return True
    is_ours = coverage is Coverage.COVERED
    return is_ours and entry_index is not None and entry_index < last_common_size
