"""The root of a tree at a smaller size, as a source proves it that serves no tiles."""

from __future__ import annotations

from appliance.errors import MalformedError, ProofError, RemoteError
from appliance.tlog.log_source import ProvingSource
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.proof import consistency_plan, root_from_consistency


def proven_root(
    old: TreeHead, new: TreeHead, source: ProvingSource
) -> tuple[Hash, tuple[Hash, ...]]:
    """Return the root that the tree of `new` has at the size of `old`, with the proof of it.

    It need not be the root of `old`. The proof is empty where none of that form shows it.
    Raises ProofError for a proof that does not lead to `new`, and what the source raises.
    """
    if old.tree_size == 0:
        return old.root_hash, ()
    if old.tree_size == new.tree_size:
        return new.root_hash, ()
    hashes = source.consistency(old.tree_size, new.tree_size)
    try:
        return root_from_consistency(old, new, hashes), hashes
    except ProofError:
        # At a power of two the old root is not in the proof; it is in the next one.
        root = _root_beside(old, new, source)
        if root is None:
            raise
        return root, ()


def _root_beside(old: TreeHead, new: TreeHead, source: ProvingSource) -> Hash | None:
    """Return the root that a tree has at a power of two, from the proof of one leaf more.

    None if the source shows none that leads to `new`.
    """
    more = old.tree_size + 1
    if old.tree_size.bit_count() != 1 or more >= new.tree_size:
        return None
    try:
        hashes = source.consistency(more, new.tree_size)
        root_from_consistency(TreeHead(more, new.root_hash), new, hashes)
    except (RemoteError, ProofError, MalformedError):
        return None
    by_range = dict(zip(consistency_plan(more, new.tree_size), hashes, strict=True))
    return by_range.get(range(old.tree_size))
