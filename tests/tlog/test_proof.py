"""Inclusion and consistency proofs: every small size, published cases, every corruption."""

from __future__ import annotations

import json
import random
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ProofError
from appliance.tlog.merkle import EMPTY_ROOT, Hash, TreeHead, leaf_hash, node_hash
from appliance.tlog.proof import (
    NodeId,
    build_proof,
    consistency_plan,
    inclusion_plan,
    perfect_nodes,
    range_root,
    root_from_inclusion,
    verify_consistency,
    verify_inclusion,
)
from tests.shared import shared_cases, vectors
from tests.tlog import reference

ENTRIES = [str(index).encode() for index in range(70_000)]
Proof = tuple[Hash, ...]


@cache
def node(node_id: NodeId) -> Hash:
    if node_id.height == 0:
        return leaf_hash(ENTRIES[node_id.index])
    left, right = 2 * node_id.index, 2 * node_id.index + 1
    return node_hash(
        node(NodeId(node_id.height - 1, left)), node(NodeId(node_id.height - 1, right))
    )


def head(size: int) -> TreeHead:
    return TreeHead(size, range_root(range(size), node))


def leaf(index: int) -> Hash:
    return node(NodeId(0, index))


def inclusion(index: int, size: int) -> Proof:
    return build_proof(inclusion_plan(index, size), node)


def consistency(old_size: int, new_size: int) -> Proof:
    return build_proof(consistency_plan(old_size, new_size), node)


def corruptions(proof: Proof) -> Iterator[Proof]:
    """Yield each hash flipped, dropped, doubled, swapped, cut, lengthened; each cut, each end."""
    junk = Hash(sha256(b"junk").digest())
    for i, value in enumerate(proof):
        before, after = proof[:i], proof[i + 1 :]
        for bit in (0, 131, 255):
            flipped = int.from_bytes(value) ^ (1 << bit)
            yield (*before, Hash(flipped.to_bytes(32)), *after)
        yield (*before, *after)
        yield (*before, value, value, *after)
        yield (*before, junk, value, *after)
        yield (*before, Hash(value[:-1]), *after)
        yield (*before, Hash(value + b"\0"), *after)
        yield (*before, Hash(b""), *after)
        if after:
            yield (*before, after[0], value, *after[1:])
    for length in range(len(proof) - 1):
        yield proof[:length]
    yield (*proof, junk)
    yield (junk, *proof)
    if proof:
        yield (*proof, proof[-1])


def includes(index: int, leaf: Hash, tree: TreeHead, proof: Proof) -> bool:
    try:
        verify_inclusion(index, leaf, tree, proof)
    except ProofError:
        return False
    return True


def consistent(old: TreeHead, new: TreeHead, proof: Proof) -> bool:
    try:
        verify_consistency(old, new, proof)
    except ProofError:
        return False
    return True


# Plans and proofs, against the recursion of RFC 6962.


def test_all_inclusion_proofs_of_small_trees_are_the_rfcs() -> None:
    for size in range(1, 71):
        tree = head(size)
        assert tree.root_hash == reference.tree_hash(ENTRIES[:size])
        for index in range(size):
            proof = inclusion(index, size)
            assert list(proof) == reference.path(index, ENTRIES[:size])
            verify_inclusion(index, leaf(index), tree, proof)
            assert root_from_inclusion(index, size, leaf(index), proof) == tree.root_hash


def test_all_consistency_proofs_of_small_trees_are_the_rfcs() -> None:
    for new_size in range(71):
        new = head(new_size)
        for old_size in range(new_size + 1):
            proof = consistency(old_size, new_size)
            if old_size:
                assert list(proof) == reference.proof(old_size, ENTRIES[:new_size])
            verify_consistency(head(old_size), new, proof)


@settings(max_examples=200)
@given(st.data())
def test_larger_proofs_are_the_rfcs(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 1500))
    index = data.draw(st.integers(0, size - 1))
    old_size = data.draw(st.integers(1, size))
    assert list(inclusion(index, size)) == reference.path(index, ENTRIES[:size])
    assert list(consistency(old_size, size)) == reference.proof(old_size, ENTRIES[:size])
    verify_inclusion(index, leaf(index), head(size), inclusion(index, size))
    verify_consistency(head(old_size), head(size), consistency(old_size, size))


@given(st.integers(1, 2**63 - 1), st.data())
def test_plans_of_any_tree_cover_it_once(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    covered = sorted([range(index, index + 1), *inclusion_plan(index, size)], key=lambda r: r.start)
    assert covered[0].start == 0
    assert covered[-1].stop == size
    assert all(a.stop == b.start for a, b in pairwise(covered))


@given(st.integers(0, 2**63 - 1), st.integers(0, 40))
def test_perfect_nodes_cover_their_range_without_a_gap(first: int, height: int) -> None:
    start = (first >> 40) << 40
    leaves = range(start, start + (first & ((1 << height) - 1)))
    nodes = perfect_nodes(leaves)
    position = leaves.start
    for node_id in nodes:
        assert node_id.index << node_id.height == position
        position += 1 << node_id.height
    assert position == leaves.stop
    assert [one.height for one in nodes] == sorted({one.height for one in nodes}, reverse=True)


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (0, 0), (1, 1), (5, 5), (6, 5)])
def test_there_is_no_plan_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of {size} leaves has no leaf {index}"):
        inclusion_plan(index, size)


@pytest.mark.parametrize(("old_size", "new_size"), [(-1, 0), (1, 0), (8, 7)])
def test_there_is_no_plan_for_a_tree_that_shrank(old_size: int, new_size: int) -> None:
    with pytest.raises(ValueError, match=f"no tree of {old_size} leaves is a prefix"):
        consistency_plan(old_size, new_size)


# Published proofs.


def test_the_synthetic_proofs_are_the_published_ones() -> None:
    synthetic = vectors()["synthetic"]
    for size, root in synthetic["roots_hex"].items():
        assert head(int(size)).root_hash.hex() == root
    for name, hashes in synthetic["inclusion"].items():
        index, size = map(int, name.split("@"))
        assert [one.hex() for one in inclusion(index, size)] == hashes, name
    for name, hashes in synthetic["consistency"].items():
        old_size, new_size = map(int, name.split("-"))
        assert [one.hex() for one in consistency(old_size, new_size)] == hashes, name


def test_the_tessera_proofs_verify() -> None:
    testdata = vectors()["tessera_testdata"]
    heads = {
        int(size): TreeHead(int(size), Hash(bytes.fromhex(root)))
        for size, root in testdata["roots_hex"].items()
    }
    for index, hashes in testdata["inclusion_15"].items():
        leaf = Hash(bytes.fromhex(testdata["leaf_hashes_hex"][int(index)]))
        verify_inclusion(int(index), leaf, heads[15], from_hex(hashes))
    for name, hashes in testdata["consistency"].items():
        old_size, new_size = map(int, name.split("-"))
        verify_consistency(heads[old_size], heads[new_size], from_hex(hashes))


def test_the_entries_of_real_logs_verify() -> None:
    entries = vectors()["log_entries"]
    assert len(entries) == 15
    for entry in entries:
        proof = entry["tle"]["inclusionProof"]
        tree = TreeHead(entry["tree_size"], Hash(bytes.fromhex(entry["root_hex"])))
        leaf = leaf_hash(b64decode(entry["tle"]["canonicalizedBody"]))
        assert leaf.hex() == entry["leaf_hash_hex"]
        hashes = tuple(Hash(b64decode(one)) for one in proof["hashes"])
        verify_inclusion(int(proof["logIndex"]), leaf, tree, hashes)
        for wrong in corruptions(hashes):
            with pytest.raises(ProofError):
                verify_inclusion(int(proof["logIndex"]), leaf, tree, wrong)


def from_hex(hashes: Sequence[str]) -> Proof:
    return tuple(Hash(bytes.fromhex(one)) for one in hashes)


# The cases of transparency-dev/merkle. Where we differ, by policy:

DIFFERENCES = {
    # An empty tree is a prefix of any tree, as c2sp.org/tlog-witness wants; there it is an error.
    "additional/size1-is-zero-and-size2-is-not-zero.json": False,
}
# Three more agree only because of checks of our own types: size 0 has one root
# (sizes-are-equal-zero-and-proof-is-empty, size1-is-zero-and-does-not-equal-size2), and a
# leaf hash has 32 bytes (single-entry/empty-root-and-leaf).


def as_hash(encoded: str) -> Hash:
    """Take a root for what it stands for: "don't care 1" is some hash."""
    raw = b64decode(encoded)
    return Hash(raw if len(raw) == 32 else sha256(raw).digest())


def case_rejected(case: Any, verify: Callable[[Any], None]) -> bool:
    try:
        verify(case)
    except ProofError:
        return True
    except ValueError as error:  # a tree head that cannot be: an empty tree with a root
        assert "empty tree" in str(error)
        return True
    return False


def verify_inclusion_case(case: Any) -> None:
    tree = TreeHead(case["treeSize"], as_hash(case["root"]))
    proof = tuple(Hash(b64decode(one)) for one in case["proof"] or ())
    verify_inclusion(case["leafIdx"], Hash(b64decode(case["leafHash"])), tree, proof)


def verify_consistency_case(case: Any) -> None:
    old = TreeHead(case["size1"], as_hash(case["root1"]))
    new = TreeHead(case["size2"], as_hash(case["root2"]))
    verify_consistency(old, new, tuple(Hash(b64decode(one)) for one in case["proof"] or ()))


@pytest.mark.parametrize("file", shared_cases("corpus/merkle/testdata/inclusion", "**/*.json"))
def test_an_inclusion_case_of_the_merkle_library(file: Path) -> None:
    case = json.loads(file.read_bytes())
    assert case_rejected(case, verify_inclusion_case) == case["wantErr"]


@pytest.mark.parametrize("file", shared_cases("corpus/merkle/testdata/consistency", "**/*.json"))
def test_a_consistency_case_of_the_merkle_library(file: Path) -> None:
    case = json.loads(file.read_bytes())
    name = f"{file.parent.name}/{file.name}"
    assert case_rejected(case, verify_consistency_case) == DIFFERENCES.get(name, case["wantErr"])


# What must not verify.


def test_every_corruption_of_an_inclusion_proof_is_rejected() -> None:
    count = 0
    for size in [*range(1, 34), 70, 255, 256, 257, 70_000]:
        tree = head(size)
        for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
            for wrong in corruptions(inclusion(index, size)):
                assert not includes(index, leaf(index), tree, wrong)
                count += 1
    assert count > 5000


def test_every_corruption_of_a_consistency_proof_is_rejected() -> None:
    count = 0
    for new_size in [*range(1, 34), 70, 255, 256, 257, 70_000]:
        new = head(new_size)
        for old_size in {1, 2, 7, new_size // 2, new_size - 1, new_size} & set(
            range(1, new_size + 1)
        ):
            old = head(old_size)
            for wrong in corruptions(consistency(old_size, new_size)):
                assert not consistent(old, new, wrong)
                count += 1
    assert count > 5000


def test_a_proof_verifies_at_no_other_index() -> None:
    for size in range(2, 34):
        tree = head(size)
        for index in range(size):
            proof = inclusion(index, size)
            for other in range(-1, size + 2):
                if other != index:
                    assert not includes(other, leaf(index), tree, proof)


def test_a_proof_verifies_no_other_leaf_or_root() -> None:
    for size in range(1, 34):
        tree = head(size)
        wrong_tree = TreeHead(size, leaf(size))
        for index in range(size):
            proof = inclusion(index, size)
            with pytest.raises(ProofError, match="expected root"):
                verify_inclusion(index, leaf(size), tree, proof)
            with pytest.raises(ProofError, match="expected root"):
                verify_inclusion(index, leaf(index), wrong_tree, proof)


def test_a_consistency_proof_verifies_no_other_roots() -> None:
    wrong_root = leaf(1000)
    for new_size in range(1, 34):
        for old_size in range(1, new_size + 1):
            old, new = head(old_size), head(new_size)
            proof = consistency(old_size, new_size)
            assert not consistent(TreeHead(old_size, wrong_root), new, proof)
            assert not consistent(old, TreeHead(new_size, wrong_root), proof)


def test_a_consistency_proof_verifies_other_sizes_only_where_that_is_no_lie() -> None:
    # Sizes are signed with their roots; a proof alone need not tell apart all of them
    # (RFC 9162 2.1.4.2). With the true roots of both sizes, it must.
    for new_size in range(2, 24):
        for old_size in range(1, new_size):
            proof = consistency(old_size, new_size)
            for other in range(1, new_size):
                if other != old_size:
                    assert not consistent(head(other), head(new_size), proof)


def test_a_forked_tree_is_consistent_with_nothing_after_the_fork() -> None:
    forked = [*ENTRIES[:20], b"forked", *ENTRIES[21:40]]
    for old_size in range(21, 41):
        old = TreeHead(old_size, Hash(reference.tree_hash(forked[:old_size])))
        for new_size in range(old_size, 41):
            honest = consistency(old_size, new_size)
            lying = tuple(map(Hash, reference.proof(old_size, forked[:new_size])))
            assert not consistent(old, head(new_size), honest)
            assert not consistent(old, head(new_size), lying)


# Policy and messages.


def test_an_empty_tree_is_a_prefix_of_every_tree_and_nothing_proves_it() -> None:
    empty = TreeHead(0, EMPTY_ROOT)
    verify_consistency(empty, empty, ())
    verify_consistency(empty, head(7), ())
    with pytest.raises(ProofError, match="from 0 to 7: expected no hashes, got 1"):
        verify_consistency(empty, head(7), (leaf(0),))


def test_equal_sizes_have_equal_roots_and_no_proof() -> None:
    verify_consistency(head(7), head(7), ())
    with pytest.raises(ProofError, match="from 7 to 7: expected no hashes, got 1"):
        verify_consistency(head(7), head(7), (leaf(0),))
    with pytest.raises(ProofError) as caught:
        verify_consistency(head(7), TreeHead(7, leaf(0)), ())
    expected, got = head(7).root_hash.hex(), leaf(0).hex()
    assert caught.value.message == (
        f"consistency proof from 7 to 7: expected root {expected}, got {got}"
    )


def test_a_tree_does_not_shrink() -> None:
    with pytest.raises(ProofError, match="from 8 to 7: a tree does not shrink"):
        verify_consistency(head(8), head(7), ())


@pytest.mark.parametrize(
    ("old_size", "n_hashes", "message"),
    [
        (3, 0, "consistency proof from 3 to 7: expected hashes, got none"),
        (4, 2, "consistency proof from 4 to 7: 2 hashes are too many"),
        (4, 0, "consistency proof from 4 to 7: 0 hashes are too few"),
        (3, 3, "consistency proof from 3 to 7: 3 hashes are too few"),
        (3, 5, "consistency proof from 3 to 7: 5 hashes are too many"),
    ],
)
def test_a_consistency_proof_of_the_wrong_length_is_named(
    old_size: int, n_hashes: int, message: str
) -> None:
    with pytest.raises(ProofError) as caught:
        verify_consistency(head(old_size), head(7), (leaf(0),) * n_hashes)
    assert caught.value.message == message


def test_an_inclusion_proof_of_the_wrong_length_is_named() -> None:
    with pytest.raises(ProofError) as caught:
        verify_inclusion(2, leaf(2), head(7), (leaf(0),))
    assert caught.value.message == "inclusion proof of leaf 2 in 7: expected 3 hashes, got 1"
    assert caught.value.reason == "proof"


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (5, 4), (0, 0), (1, 1)])
def test_a_leaf_outside_the_tree_is_named_whatever_the_proof(index: int, size: int) -> None:
    for n_hashes in range(5):
        with pytest.raises(ProofError, match=f"^a tree of {size} leaves has no leaf {index}$"):
            root_from_inclusion(index, size, leaf(0), (leaf(0),) * n_hashes)


def test_a_wrong_root_is_named_with_the_one_expected() -> None:
    root = root_from_inclusion(2, 7, leaf(5), inclusion(2, 7))
    with pytest.raises(ProofError) as caught:
        verify_inclusion(2, leaf(5), head(7), inclusion(2, 7))
    assert caught.value.message == (
        f"inclusion proof of leaf 2 in 7: expected root {head(7).root_hash.hex()}, got {root.hex()}"
    )


@pytest.mark.parametrize("n_bytes", [0, 31, 33, 64])
def test_hashes_that_are_not_32_bytes_are_rejected_before_anything_else(n_bytes: int) -> None:
    wrong = Hash(bytes(n_bytes))
    with pytest.raises(ProofError, match=f"proof hash 1 has {n_bytes} bytes, expected 32"):
        verify_inclusion(0, leaf(0), head(4), (leaf(0), wrong))
    with pytest.raises(ProofError, match=f"proof hash 0 has {n_bytes} bytes, expected 32"):
        verify_consistency(head(4), head(7), (wrong,))
    with pytest.raises(ProofError, match=f"leaf hash has {n_bytes} bytes, expected 32"):
        verify_inclusion(0, wrong, head(1), ())


@settings(max_examples=300)
@given(
    st.integers(-2, 2**64),
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32) | st.binary(max_size=40), max_size=70),
)
def test_no_proof_from_anywhere_raises_anything_else(
    index: int, size: int, proof: list[bytes]
) -> None:
    hashes = tuple(map(Hash, proof))
    tree = TreeHead(size, EMPTY_ROOT)
    assert not includes(index, leaf(0), tree, hashes)
    if 0 < index < size:
        assert not consistent(TreeHead(index, leaf(0)), tree, hashes)


def test_random_larger_proofs_survive_a_sweep() -> None:
    chance = random.Random(9162)  # noqa: S311
    for _ in range(40):
        size = chance.randint(1000, 70_000)
        index, old_size = chance.randrange(size), chance.randint(1, size)
        for wrong in corruptions(inclusion(index, size)):
            assert not includes(index, leaf(index), head(size), wrong)
        for wrong in corruptions(consistency(old_size, size)):
            assert not consistent(head(old_size), head(size), wrong)
