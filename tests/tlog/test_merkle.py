"""The hash tree, against RFC 6962 transcribed and against published roots."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MalformedError
from appliance.tlog.merkle import (
    EMPTY_ROOT,
    MAX_TREE_SIZE,
    Hash,
    TreeHead,
    as_hash,
    fold_peaks,
    leaf_hash,
    node_hash,
    perfect_root,
)
from tests.shared import vectors
from tests.tlog import reference

ENTRIES = [str(index).encode() for index in range(300)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def test_a_leaf_and_a_node_start_with_different_bytes() -> None:
    assert leaf_hash(b"x") == sha256(b"\x00x").digest()
    assert node_hash(b"l" * 32, b"r" * 32) == sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    assert leaf_hash(b"l" * 32 + b"r" * 32) != node_hash(b"l" * 32, b"r" * 32)


def test_hashing_twice_gives_the_same_hash() -> None:
    assert leaf_hash(b"x") == leaf_hash(b"x")
    assert node_hash(LEAVES[0], LEAVES[1]) == node_hash(LEAVES[0], LEAVES[1])


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT == sha256(b"").digest() == reference.tree_hash([]) == fold_peaks([])


def test_the_tessera_leaves_are_the_published_ones() -> None:
    testdata = vectors()["tessera_testdata"]
    entries = [entry.encode() for entry in testdata["entries"]]
    assert [leaf_hash(entry).hex() for entry in entries] == testdata["leaf_hashes_hex"]
    for size, root in testdata["roots_hex"].items():
        assert reference.tree_hash(entries[: int(size)]).hex() == root


@pytest.mark.parametrize("height", range(9))
def test_a_perfect_root_is_the_tree_hash(height: int) -> None:
    count = 1 << height
    assert perfect_root(b"".join(LEAVES[:count])) == reference.tree_hash(ENTRIES[:count])


@pytest.mark.parametrize("n_bytes", [0, 1, 31, 33, 63, 65, 96, 160, 255 * 32, 8191, 8193])
def test_hashes_that_are_no_perfect_subtree_have_no_perfect_root(n_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"^{n_bytes} bytes are not a perfect subtree"):
        perfect_root(bytes(n_bytes))


def test_peaks_fold_from_the_right() -> None:
    a, b, c = LEAVES[:3]
    assert fold_peaks([a]) == a
    assert fold_peaks([a, b, c]) == node_hash(a, node_hash(b, c))


@pytest.mark.parametrize("n_bytes", [0, 31, 33, 64])
def test_a_hash_has_32_bytes(n_bytes: int) -> None:
    with pytest.raises(MalformedError, match=f"a hash has 32 bytes, this has {n_bytes}"):
        as_hash(bytes(n_bytes))


def test_32_bytes_are_a_hash() -> None:
    assert as_hash(bytes(32)) == bytes(32)


@pytest.mark.parametrize("size", [0, 1, MAX_TREE_SIZE])
def test_a_tree_head_has_a_size_sqlite_can_store(size: int) -> None:
    assert TreeHead(size, EMPTY_ROOT).tree_size == size
    assert MAX_TREE_SIZE == 9_223_372_036_854_775_807


@pytest.mark.parametrize("size", [-1, MAX_TREE_SIZE + 1])
def test_no_tree_has_fewer_than_no_leaves_or_too_many(size: int) -> None:
    with pytest.raises(ValueError, match=f"no tree has {size} leaves"):
        TreeHead(size, EMPTY_ROOT)


def test_a_tree_head_with_a_short_root_is_rejected() -> None:
    with pytest.raises(ValueError, match="32 bytes, this has 31"):
        TreeHead(1, Hash(bytes(31)))


def test_a_tree_with_leaves_has_any_root() -> None:
    assert TreeHead(1, LEAVES[0]).root_hash == LEAVES[0]


def test_an_empty_tree_with_another_root_is_rejected() -> None:
    with pytest.raises(ValueError, match=f"empty tree is not {bytes(32).hex()}"):
        TreeHead(0, Hash(bytes(32)))


def test_a_tree_head_prints_size_and_root() -> None:
    assert str(TreeHead(0, EMPTY_ROOT)) == f"size 0 root {EMPTY_ROOT.hex()}"


@given(st.binary(max_size=32 * 40))
def test_any_bytes_are_a_perfect_subtree_or_a_value_error(hashes: bytes) -> None:
    count = len(hashes) // 32
    perfect = len(hashes) % 32 == 0 and count.bit_count() == 1
    try:
        root = perfect_root(hashes)
    except ValueError:
        assert not perfect
    else:
        assert perfect
        assert len(root) == 32
