"""The right edge of a growing tree: enough to append to it and to know its root.

After n leaves there is one hash for each set bit of n, left to right: the roots of the
maximal perfect subtrees. Nothing here remembers anything else about the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from appliance.tlog.merkle import Hash, TreeHead, fold_peaks, node_hash


class CompactRange:
    """Leaves [0, tree_size), folded to their peaks."""

    def __init__(self, tree_size: int = 0, peaks: Sequence[Hash] = ()) -> None:
        if tree_size < 0 or len(peaks) != tree_size.bit_count():
            raise ValueError(f"{tree_size} leaves do not have {len(peaks)} peaks")
        self.tree_size = tree_size
        self.peaks = list(peaks)

    def append(self, node: Hash, height: int = 0) -> None:
        """Append a perfect subtree of 2^height leaves, given by its root.

        Raises ValueError unless the tree so far is a multiple of that many leaves.
        """
        if self.tree_size & ((1 << height) - 1):
            raise ValueError(f"a node of height {height} cannot follow {self.tree_size} leaves")
        carry = self.tree_size >> height
        while carry & 1:
            node = node_hash(self.peaks.pop(), node)
            carry >>= 1
        self.peaks.append(node)
        self.tree_size += 1 << height

    def extend(self, leaves: Iterable[Hash]) -> None:
        """Append leaf hashes in order."""
        for leaf in leaves:
            self.append(leaf)

    @property
    def head(self) -> TreeHead:
        """The tree head over all leaves so far."""
        return TreeHead(self.tree_size, fold_peaks(self.peaks))
