"""The tile tree: honest tiles answer every question; a dishonest one is told from them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from hashlib import sha256

import pytest

from appliance.errors import IncompleteError, MalformedError, ProofError
from appliance.tlog.merkle import EMPTY_ROOT, Hash, TreeHead, leaf_hash
from appliance.tlog.proof import NodeId, verify_consistency, verify_inclusion
from appliance.tlog.tile import EntryBundle, Tile, edge_tiles, tiles_of
from appliance.tlog.tile_tree import TileTree
from tests.shared import shared, vectors
from tests.simulator import SimulatedLog
from tests.tlog import reference
from tests.tlog.sparse_tree import SparseTree

ENTRIES = [str(index).encode() for index in range(600)]


class Recorder:
    """Reads honest tiles of a log and remembers which, one list a call."""

    def __init__(self, log: SimulatedLog) -> None:
        self.log = log
        self.calls: list[list[Tile]] = []

    def __call__(self, wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        self.calls.append(list(wanted))
        return dict(self.log.tiles(wanted))

    @property
    def paths(self) -> set[str]:
        return {tile.path for call in self.calls for tile in call}


def log_of(size: int) -> SimulatedLog:
    log = SimulatedLog()
    log.grow(str(index).encode() for index in range(size))
    return log


@pytest.fixture(scope="module")
def log_70000() -> SimulatedLog:
    return log_of(70_000)


@pytest.mark.parametrize("size", [*range(1, 71), 255, 256, 257, 511, 512, 513, 600])
def test_every_question_about_a_small_tree_has_the_rfcs_answer(size: int) -> None:
    log = log_of(size)
    read = Recorder(log)
    tree = TileTree(log.head)
    assert tree.head.root_hash == reference.tree_hash(ENTRIES[:size])
    stride = 1 if size <= 70 else 37
    for index in {*range(0, size, stride), size - 1}:
        assert list(tree.prove_inclusion(index, read)) == reference.path(index, ENTRIES[:size])
        assert tree.leaf(index, read) == leaf_hash(ENTRIES[index])
    for old_size in {*range(1, size, stride), size}:
        proof = tree.prove_consistency(old_size, read)
        assert list(proof) == reference.proof(old_size, ENTRIES[:size])
        assert tree.root_at(old_size, read) == reference.tree_hash(ENTRIES[:old_size])
    assert tree.prove_consistency(0, read) == ()
    assert tree.root_at(0, read) == EMPTY_ROOT
    tree.load(tiles_of(size), read)
    for tile in tiles_of(size):
        by_definition = reference.tile_hashes(tile.level, tile.index, tile.width, ENTRIES)
        assert tree.tile(tile) == by_definition
    assert sum(map(len, read.calls)) == len(list(tiles_of(size))), "a tile was read twice"


def test_the_synthetic_tiles_and_proofs_are_the_published_ones(log_70000: SimulatedLog) -> None:
    synthetic = vectors()["synthetic"]
    tree, read = TileTree(log_70000.head), Recorder(log_70000)
    assert log_70000.head.root_hash.hex() == synthetic["roots_hex"]["70000"]
    tree.load(tiles_of(70_000), read)
    for tile in tiles_of(70_000):
        published = synthetic["tiles_70000"].get(tile.path)
        if published:
            assert len(tree.tile(tile)) == published["len"]
            assert sha256(tree.tile(tile)).hexdigest() == published["sha256_hex"]
    for size, root in synthetic["roots_hex"].items():
        assert tree.root_at(int(size), read).hex() == root
    for name, hashes in synthetic["inclusion"].items():
        index, size = map(int, name.split("@"))
        if size == 70_000:
            assert [one.hex() for one in tree.prove_inclusion(index, read)] == hashes
    for name, hashes in synthetic["consistency"].items():
        old_size, size = map(int, name.split("-"))
        if size == 70_000:
            assert [one.hex() for one in tree.prove_consistency(old_size, read)] == hashes


TOP = {"tile/2/000.p/1", "tile/1/001.p/17", "tile/0/273.p/112"}  # the edge, always read


@pytest.mark.parametrize(
    ("index", "tiles", "n_hashes"),
    [(1234, {"tile/0/004", "tile/1/000"}, 17), (69_999, set(), 9), (65_536, {"tile/0/256"}, 14)],
)
def test_an_inclusion_proof_reads_the_tiles_it_needs_and_their_parents(
    index: int, tiles: set[str], n_hashes: int, log_70000: SimulatedLog
) -> None:
    tree, read = TileTree(log_70000.head), Recorder(log_70000)
    proof = tree.prove_inclusion(index, read)
    verify_inclusion(index, log_70000.leaf(index), log_70000.head, proof)
    assert len(proof) == n_hashes
    assert read.paths == TOP | tiles


@pytest.mark.parametrize(
    ("old_size", "tiles", "n_hashes"),
    [(300, {"tile/0/001", "tile/1/000"}, 16), (256, {"tile/1/000"}, 9), (65_536, set(), 1)],
)
def test_a_consistency_proof_reads_the_tiles_it_needs_and_their_parents(
    old_size: int, tiles: set[str], n_hashes: int, log_70000: SimulatedLog
) -> None:
    tree, read = TileTree(log_70000.head), Recorder(log_70000)
    proof = tree.prove_consistency(old_size, read)
    verify_consistency(log_70000.head_at(old_size), log_70000.head, proof)
    assert len(proof) == n_hashes
    assert read.paths == TOP | tiles


def test_tiles_are_read_once_the_edge_first_then_a_level_a_call(log_70000: SimulatedLog) -> None:
    tree, read = TileTree(log_70000.head), Recorder(log_70000)
    wanted = [Tile(0, 3), Tile(0, 270), Tile(0, 1), Tile(0, 273, 112), Tile(0, 3)]
    tree.load(wanted, read)
    assert read.calls == [
        list(edge_tiles(70_000)),
        [Tile(1, 0)],
        [Tile(0, 1), Tile(0, 3), Tile(0, 270)],
    ]
    tree.load(wanted, read)
    assert len(read.calls) == 3


def test_the_real_tessera_log_answers_from_its_files() -> None:
    log = shared("corpus/tessera/testdata/log")
    testdata = vectors()["tessera_testdata"]

    def read(wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        return {tile: (log / tile.path).read_bytes() for tile in wanted}

    for size in range(1, 16):
        root = Hash(bytes.fromhex(testdata["roots_hex"][str(size)]))
        tree = TileTree(TreeHead(size, root))
        for old_size in range(size + 1):
            assert tree.root_at(old_size, read).hex() == testdata["roots_hex"][str(old_size)]
    for index, hashes in testdata["inclusion_15"].items():
        assert [one.hex() for one in tree.prove_inclusion(int(index), read)] == hashes


def test_the_real_mirror_of_300_entries_answers_from_its_files() -> None:
    where = "corpus/sunlight/cmd/skylight/testdata/witness/mirror"
    origin_hash = sha256(b"rome2026h1.example.org").hexdigest()
    log = shared(where) / origin_hash
    lines = (log / "checkpoint").read_text().split("\n")
    head = TreeHead(int(lines[1]), Hash(b64decode(lines[2])))
    tree = TileTree(head)
    tree.load(
        tiles_of(head.tree_size),
        lambda wanted: {tile: (log / tile.path).read_bytes() for tile in wanted},
    )
    assert tree.has(Tile(0, 0))
    assert EntryBundle(1, 44).tile in set(tiles_of(head.tree_size))


def test_an_empty_tree_reads_nothing() -> None:
    tree, read = TileTree(TreeHead(0, EMPTY_ROOT)), Recorder(SimulatedLog())
    tree.load([], read)
    assert tree.root_at(0, read) == EMPTY_ROOT
    assert tree.edge == ()
    assert read.calls == []


# What happens to a tile on its way in.


def test_a_tree_that_is_kept_small_drops_what_is_next_to_the_entries_first(
    log_70000: SimulatedLog,
) -> None:
    read = Recorder(log_70000)
    tree = TileTree(log_70000.head)
    proof = tree.prove_inclusion(0, read)
    held = len({path for path in read.paths if ".p/" not in path}) + len(tree.edge)
    tree.keep(held)
    assert all(map(tree.has, [Tile(0, 0), Tile(1, 0), *tree.edge]))
    tree.keep(held - 1)
    assert not tree.has(Tile(0, 0))
    assert all(map(tree.has, [Tile(1, 0), *tree.edge]))
    tree.keep(0)
    assert not tree.has(Tile(1, 0))
    assert all(map(tree.has, tree.edge))
    assert tree.prove_inclusion(0, read) == proof


def test_a_trimmed_tree_keeps_its_edge_and_reads_the_rest_again() -> None:
    log = log_of(600)
    tree, read = TileTree(log.head), Recorder(log)
    tree.load([Tile(0, 0), Tile(0, 1)], read)
    tree.trim()
    assert [tree.has(tile) for tile in tiles_of(600)] == [True, False, False, True]
    with pytest.raises(LookupError):
        tree.tile(Tile(0, 0))
    with pytest.raises(LookupError):
        tree.node(NodeId(0, 0))
    tree.load([Tile(0, 0)], read)
    assert read.calls[-1] == [Tile(0, 0)]


@pytest.mark.parametrize("change", [-32, -1, 1, 32])
def test_a_tile_of_the_wrong_length_is_malformed(change: int) -> None:
    tiles = SparseTree()

    def read(wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        return {tile: (tiles.tile(tile) + bytes(64))[: tile.width * 32 + change] for tile in wanted}

    with pytest.raises(MalformedError) as caught:
        TileTree(tiles.head(70_000)).prove_inclusion(0, read)
    assert caught.value.reason == "tile-width"
    assert caught.value.message == f"tile/2/000.p/1: expected 32 bytes, got {32 + change}"


def test_a_wrong_edge_is_named_with_all_its_tiles_and_both_roots() -> None:
    tiles = SparseTree()
    head = tiles.head(70_000)
    with pytest.raises(ProofError) as caught:
        TileTree(head).prove_inclusion(0, SparseTree("other").tiles)
    assert caught.value.reason == "tile"
    other = SparseTree("other").head(70_000).root_hash.hex()
    assert caught.value.message == (
        "right edge of tree 70000 (tile/2/000.p/1, tile/1/001.p/17, tile/0/273.p/112): "
        f"expected root {head.root_hash.hex()}, got {other}"
    )


def test_a_wrong_full_tile_is_named_with_both_roots() -> None:
    tiles = SparseTree()

    def read(wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        return {**tiles.tiles(wanted), Tile(0, 4): SparseTree("other").tile(Tile(0, 4))}

    with pytest.raises(ProofError) as caught:
        TileTree(tiles.head(70_000)).leaf(4 * 256, read)
    expected = tiles.node(NodeId(8, 4)).hex()
    got = SparseTree("other").node(NodeId(8, 4)).hex()
    assert caught.value.message == f"tile/0/004: expected root {expected}, got {got}"
    assert caught.value.reason == "tile"


def test_a_rejected_tile_is_not_kept_and_the_true_one_is_taken_later() -> None:
    log = log_of(600)
    tree = TileTree(log.head)
    log.lie(Tile(0, 0))
    with pytest.raises(ProofError):
        tree.leaf(0, lambda wanted: dict(log.tiles(wanted)))
    assert not tree.has(Tile(0, 0))
    log.tell_the_truth()
    assert tree.leaf(0, lambda wanted: dict(log.tiles(wanted))) == log.leaf(0)


@pytest.mark.parametrize("left_out", [Tile(1, 0, 2), Tile(0, 2, 88), Tile(0, 1)])
def test_a_tile_that_the_source_leaves_out_is_missed(left_out: Tile) -> None:
    tiles = SparseTree()

    def read(wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        return {tile: tiles.tile(tile) for tile in wanted if tile != left_out}

    with pytest.raises(IncompleteError, match=f"the source left out {left_out.path}$"):
        TileTree(tiles.head(600)).leaf(300, read)


def test_a_tile_that_nobody_asked_for_is_ignored() -> None:
    tiles = SparseTree()

    def read(wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        return {**tiles.tiles(wanted), Tile(0, 1): b"", Tile(9, 9): b"", Tile(0, 2, 3): b""}

    tree = TileTree(tiles.head(600))
    assert tree.leaf(0, read) == tiles.node(NodeId(0, 0))
    assert not tree.has(Tile(0, 1))


def test_a_tile_is_found_by_its_place_and_is_as_wide_as_the_tree_has_it() -> None:
    tiles = SparseTree()
    tree = TileTree(tiles.head(600))
    tree.load([Tile(0, 2, 10)], tiles.tiles)
    assert tree.has(Tile(0, 2))
    assert tree.tile(Tile(0, 2, 10)) == tiles.tile(Tile(0, 2, 88))


# A caller's bugs are not the data's fault.


def test_a_full_tile_before_its_parent_is_a_callers_bug() -> None:
    tiles = SparseTree()
    tree = TileTree(tiles.head(600))
    with pytest.raises(LookupError):
        tree.add(Tile(0, 0), tiles.tile(Tile(0, 0)))


@pytest.mark.parametrize("tile", [Tile(0, 2, 88), Tile(0, 0, 88)])
def test_a_partial_tile_added_alone_is_a_callers_bug(tile: Tile) -> None:
    tiles = SparseTree()
    tree = TileTree(tiles.head(600))
    tree.load([], tiles.tiles)
    with pytest.raises(ValueError, match="belongs to the edge"):
        tree.add(tile, tiles.tile(tile))


def test_a_tile_beyond_the_tree_is_a_callers_bug() -> None:
    tiles = SparseTree()
    tree = TileTree(tiles.head(600))
    for beyond in (Tile(0, 3), Tile(1, 0), Tile(0, 5)):
        with pytest.raises(ValueError, match=r"a tree of 600 leaves has no|no such tile"):
            tree.add(beyond, tiles.tile(beyond))
        with pytest.raises(ValueError, match=r"a tree of 600 leaves has no|no such tile"):
            tree.load([beyond], tiles.tiles)


@pytest.mark.parametrize("index", [-1, 600, 2**62])
def test_an_entry_beyond_the_tree_is_a_callers_bug(index: int) -> None:
    tiles = SparseTree()
    tree = TileTree(tiles.head(600))
    with pytest.raises(ValueError, match="a tree of 600 leaves has no"):
        tree.leaf(index, tiles.tiles)
    with pytest.raises(ValueError, match="a tree of 600 leaves has no"):
        tree.prove_inclusion(index, tiles.tiles)


@pytest.mark.parametrize("size", [-1, 601])
def test_a_size_beyond_the_tree_is_a_callers_bug(size: int) -> None:
    tiles = SparseTree()
    tree = TileTree(tiles.head(600))
    with pytest.raises(ValueError, match=f"no tree of {size} leaves is a prefix of one of 600"):
        tree.prove_consistency(size, tiles.tiles)
    with pytest.raises(ValueError, match=f"a tree of 600 leaves never had {size}"):
        tree.root_at(size, tiles.tiles)


@pytest.mark.parametrize("node", [NodeId(1, 300), NodeId(3, 75), NodeId(10, 0), NodeId(0, -1)])
def test_a_node_that_the_tree_does_not_hold_whole_is_not_made_up(node: NodeId) -> None:
    tiles = SparseTree()
    tree = TileTree(tiles.head(600))
    tree.load(tiles_of(600), tiles.tiles)
    with pytest.raises(ValueError, match="a tree of 600 leaves has no NodeId"):
        tree.node(node)
