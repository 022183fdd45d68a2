"""Inclusion and consistency proofs: plan them, build them, verify them (RFC 6962).

A plan is a list of leaf ranges whose roots form the proof, in proof order. Building
reads only perfect nodes, through the caller's reader. Verifying trusts neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from appliance.errors import ProofError
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead, fold_peaks, node_hash
from appliance.value import frozen


@frozen(order=True)
class NodeId:
    """A perfect node: the root over leaves [index << height, (index + 1) << height)."""

    height: int  # 0 is a leaf hash
    index: int  # from 0, left to right within the height


def inclusion_plan(entry_index: int, tree_size: int) -> tuple[range, ...]:
    """List, leaf sibling first, the leaf ranges that prove `entry_index` in a tree.

    Raises ValueError unless 0 <= entry_index < tree_size.
    """
    if not 0 <= entry_index < tree_size:
        raise ValueError(f"a tree of {tree_size} leaves has no leaf {entry_index}")
    plan: list[range] = []
    leaves = range(tree_size)
    while len(leaves) > 1:
        middle = leaves.start + split_point(len(leaves))
        left, right = range(leaves.start, middle), range(middle, leaves.stop)
        leaves, sibling = (left, right) if entry_index < middle else (right, left)
        plan.append(sibling)
    return tuple(reversed(plan))


def consistency_plan(old_size: int, new_size: int) -> tuple[range, ...]:
    """List, in proof order, the leaf ranges that prove the old tree a prefix of the new.

    Raises ValueError unless 0 <= old_size <= new_size. Nothing proves an empty tree,
    nor a tree against itself: both plans are empty.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"no tree of {old_size} leaves is a prefix of one of {new_size}")
    if old_size in (0, new_size):
        return ()
    return tuple(_subproof(old_size, range(new_size), whole=True))


def _subproof(old_end: int, leaves: range, *, whole: bool) -> list[range]:
    if old_end == leaves.stop:
        return [] if whole else [leaves]
    middle = leaves.start + split_point(len(leaves))
    left, right = range(leaves.start, middle), range(middle, leaves.stop)
    if old_end <= middle:
        return [*_subproof(old_end, left, whole=whole), right]
    return [*_subproof(old_end, right, whole=False), left]


def split_point(n_leaves: int) -> int:
    """Return the largest power of two below `n_leaves` (which is at least 2)."""
    return 1 << ((n_leaves - 1).bit_length() - 1)


def perfect_nodes(leaves: range) -> tuple[NodeId, ...]:
    """Cover a leaf range of a plan with maximal perfect nodes, left to right.

    `leaves.start` is a multiple of the range's largest perfect node, as in every plan.
    """
    nodes = []
    start, remaining = leaves.start, len(leaves)
    while remaining:
        height = remaining.bit_length() - 1
        nodes.append(NodeId(height, start >> height))
        start += 1 << height
        remaining -= 1 << height
    return tuple(nodes)


def range_root(leaves: range, read_node: Callable[[NodeId], Hash]) -> Hash:
    """Hash a leaf range of a plan up to its root, reading only perfect nodes."""
    return fold_peaks([read_node(node) for node in perfect_nodes(leaves)])


def build_proof(plan: Sequence[range], read_node: Callable[[NodeId], Hash]) -> tuple[Hash, ...]:
    """Turn a plan into the proof it describes."""
    return tuple(range_root(leaves, read_node) for leaves in plan)


def root_from_inclusion(
    entry_index: int, tree_size: int, leaf: Hash, proof: Sequence[Hash]
) -> Hash:
    """Return the root that an inclusion proof implies (RFC 9162 section 2.1.3.2).

    Raises ProofError if the index is not in the tree or the proof has the wrong shape.
    """
    _check_hashes(proof)
    if len(leaf) != HASH_BYTES:
        raise ProofError(f"leaf hash has {len(leaf)} bytes, expected 32")
    if not 0 <= entry_index < tree_size:
        raise ProofError(f"a tree of {tree_size} leaves has no leaf {entry_index}")
    inner = (entry_index ^ (tree_size - 1)).bit_length()
    border = (entry_index >> inner).bit_count()
    if len(proof) != inner + border:
        raise ProofError(
            f"inclusion proof of leaf {entry_index} in {tree_size}: "
            f"expected {inner + border} hashes, got {len(proof)}"
        )
    root = leaf
    for height, sibling in enumerate(proof[:inner]):
        is_right = entry_index >> height & 1
        root = node_hash(sibling, root) if is_right else node_hash(root, sibling)
    for sibling in proof[inner:]:
        root = node_hash(sibling, root)
    return root


def verify_inclusion(entry_index: int, leaf: Hash, head: TreeHead, proof: Sequence[Hash]) -> None:
    """Verify that `leaf` stands at `entry_index` in the tree of `head`.

    Raises ProofError if it does not, or the proof is not exactly the one there is.
    """
    root = root_from_inclusion(entry_index, head.tree_size, leaf, proof)
    if root != head.root_hash:
        raise ProofError(
            f"inclusion proof of leaf {entry_index} in {head.tree_size}: "
            f"expected root {head.root_hash.hex()}, got {root.hex()}"
        )


def verify_consistency(old: TreeHead, new: TreeHead, proof: Sequence[Hash]) -> None:
    """Verify that the tree of `old` is a prefix of the tree of `new`.

    An empty old tree is a prefix of every tree, proven by nothing (c2sp.org/tlog-witness).
    Raises ProofError if it is not, or the proof is not exactly the one there is.
    """
    _check_hashes(proof)
    what = f"consistency proof from {old.tree_size} to {new.tree_size}"
    if old.tree_size > new.tree_size:
        raise ProofError(f"{what}: a tree does not shrink")
    if old.tree_size in (0, new.tree_size):
        if proof:
            raise ProofError(f"{what}: expected no hashes, got {len(proof)}")
        if old.tree_size == new.tree_size and old.root_hash != new.root_hash:
            raise ProofError(
                f"{what}: expected root {old.root_hash.hex()}, got {new.root_hash.hex()}"
            )
        return
    old_root, new_root = _roots_from_consistency(old, new.tree_size, proof, what)
    for which, expected, got in (
        ("old", old.root_hash, old_root),
        ("new", new.root_hash, new_root),
    ):
        if got != expected:
            raise ProofError(f"{what}: expected {which} root {expected.hex()}, got {got.hex()}")


def root_from_consistency(old: TreeHead, new: TreeHead, proof: Sequence[Hash]) -> Hash:
    """Return the root that the tree of `new` has at the size of `old`, as a proof shows it.

    That may be another root than `old` has: then the two heads are of different trees. Where
    the old size is a power of two a proof leaves its root out, and cannot show another.
    Raises ProofError if the proof does not lead to `new`, or is not of the right shape.
    """
    _check_hashes(proof)
    what = f"consistency proof from {old.tree_size} to {new.tree_size}"
    if not 0 < old.tree_size < new.tree_size:
        raise ValueError(f"{what}: there is nothing to prove")
    old_root, new_root = _roots_from_consistency(old, new.tree_size, proof, what)
    if new_root != new.root_hash:
        raise ProofError(f"{what}: expected new root {new.root_hash.hex()}, got {new_root.hex()}")
    return old_root


def _roots_from_consistency(
    old: TreeHead, new_size: int, proof: Sequence[Hash], what: str
) -> tuple[Hash, Hash]:
    """Return both roots the proof implies (RFC 9162 section 2.1.4.2)."""
    hashes = list(proof)
    if old.tree_size.bit_count() == 1:
        hashes.insert(0, old.root_hash)  # the proof leaves out a root the verifier has
    if not hashes:
        raise ProofError(f"{what}: expected hashes, got none")
    node, last = old.tree_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_root = new_root = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofError(f"{what}: {len(proof)} hashes are too many")
        if node & 1 or node == last:
            old_root, new_root = node_hash(sibling, old_root), node_hash(sibling, new_root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_root = node_hash(new_root, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError(f"{what}: {len(proof)} hashes are too few")
    return old_root, new_root


def _check_hashes(proof: Sequence[Hash]) -> None:
    for position, one in enumerate(proof):
        if len(one) != HASH_BYTES:
            raise ProofError(f"proof hash {position} has {len(one)} bytes, expected 32")
