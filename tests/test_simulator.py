"""The simulator itself: an honest log by the rules, and every way it has of misbehaving."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import LimitError, RemoteError, SignatureError
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.compact_range import CompactRange
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.log_source import LogSource
from appliance.tlog.merkle import EMPTY_ROOT, leaf_hash
from appliance.tlog.proof import verify_consistency, verify_inclusion
from appliance.tlog.tile import EntryBundle, Tile, new_entry_bundles, tiles_of
from appliance.tlog.tile_tree import TileTree
from tests.simulator import FROZEN_AT, SimulatedLog


def simulated(size: int) -> SimulatedLog:
    log = SimulatedLog()
    log.grow(size)
    return log


def test_it_is_a_log_source() -> None:
    source: LogSource = simulated(1)
    assert source.description == "simulated log log.example"


def test_an_empty_log_publishes_an_empty_tree() -> None:
    log = SimulatedLog()
    opened = open_checkpoint(log.checkpoint(), [log.key], "log.example")
    assert (opened.head.tree_size, opened.head.root_hash) == (0, EMPTY_ROOT)


def test_two_logs_of_one_origin_are_the_same_log_however_they_grew() -> None:
    one, other = simulated(700), SimulatedLog()
    for _ in range(70):
        other.grow(10)
    assert one.checkpoint() == other.checkpoint()
    assert one.entries == other.entries
    assert SimulatedLog("other.example").key != one.key


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700, 65_537])
def test_what_it_serves_is_what_it_signed(size: int) -> None:
    log = simulated(size)
    head = open_checkpoint(log.checkpoint(), [log.key], log.origin).head
    leaves = CompactRange()
    leaves.extend(leaf_hash(entry) for entry in log.entries)
    assert head == leaves.head == log.head
    tree = TileTree(head)
    tree.load(tiles_of(size), lambda wanted: dict(log.tiles(wanted)))
    for bundle, data in log.entry_bundles(tuple(new_entry_bundles(0, size))):
        assert leaf_hashes(parse_entry_bundle(data, bundle)) == tree.tile(bundle.tile)


def test_it_proves_its_entries_and_its_past() -> None:
    log = simulated(300)
    verify_inclusion(123, log.leaf(123), log.head, log.inclusion_proof(123))
    verify_inclusion(123, log.leaf(123), log.head_at(200), log.inclusion_proof(123, 200))
    verify_consistency(log.head_at(77), log.head, log.consistency_proof(77))
    verify_consistency(log.head_at(77), log.head_at(78), log.consistency_proof(77, 78))


def test_it_takes_entries_given_by_the_test() -> None:
    log = SimulatedLog()
    log.grow([b"one", b"two"])
    assert log.entries == [b"one", b"two"]
    assert dict(log.entry_bundles([EntryBundle(0, 2)])) == {
        EntryBundle(0, 2): b"\x00\x03one\x00\x03two"
    }


def test_a_fork_signs_another_tree_of_the_same_size() -> None:
    log = simulated(300)
    twin = log.fork(at=120)
    assert (twin.head.tree_size, twin.key) == (300, log.key)
    assert twin.head_at(120) == log.head_at(120)
    assert twin.head_at(121) != log.head_at(121)
    assert twin.head != log.head


def test_a_fork_at_the_end_parts_when_both_grow() -> None:
    log = simulated(10)
    twin = log.fork(at=10)
    assert twin.checkpoint() == log.checkpoint()
    assert twin.grow() != log.grow()


def test_a_fork_of_a_fork_differs_from_both() -> None:
    log = simulated(10)
    twin = log.fork(at=5)
    assert len({log.head, twin.head, log.fork(at=6).head, twin.fork(at=7).head}) == 4


def test_a_rolled_back_log_publishes_its_past_until_it_resumes() -> None:
    log = simulated(300)
    past = log.head_at(200)
    log.roll_back(to=200)
    assert open_checkpoint(log.checkpoint(), [log.key], log.origin).head == past
    log.resume()
    assert log.head.tree_size == 300
    with pytest.raises(ValueError, match="never 301 entries long"):
        log.roll_back(to=301)


def test_a_stalled_log_grows_without_publishing() -> None:
    log = simulated(10)
    log.stall()
    assert log.grow(5).tree_size == 10
    assert len(log.entries) == 15
    assert log.fork(at=12).grow().tree_size == 10
    log.resume()
    assert log.head.tree_size == 15


def test_a_frozen_log_says_so_in_a_signed_line() -> None:
    log = simulated(10)
    log.freeze()
    opened = open_checkpoint(log.checkpoint(), [log.key], log.origin)
    assert opened.checkpoint.frozen == FROZEN_AT
    assert opened.head == log.head


def test_lies_truncations_and_losses_last_until_it_tells_the_truth() -> None:
    log = simulated(300)
    tile, bundle, top = Tile(0, 0), EntryBundle(1, 44), Tile(1, 0, 1)
    true_tile, true_bundle = log.answer(tile.path), log.answer(bundle.path)
    log.lie(tile)
    log.lie(bundle, b"junk")
    log.truncate(top, n_bytes=31)
    log.lose(Tile(0, 1, 44))
    assert [log.answer(tile.path) != true_tile for _ in range(2)] == [True, True]
    assert dict(log.entry_bundles([bundle])) == {bundle: b"junk"}
    assert len(log.answer(top.path)) == 31
    with pytest.raises(RemoteError) as caught:
        list(log.tiles([Tile(0, 1, 44)]))
    assert caught.value.reason == "not-found"
    log.tell_the_truth()
    assert log.answer(tile.path) == true_tile
    assert log.answer(bundle.path) == true_bundle


def test_a_lie_about_the_checkpoint_breaks_its_signature() -> None:
    log = simulated(3)
    log.lie("checkpoint", log.checkpoint().replace(b"\n3\n", b"\n4\n"))
    with pytest.raises(SignatureError):
        open_checkpoint(log.checkpoint(), [log.key], log.origin)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/001",
        "tile/0/000",
        "tile/0/000.p/4",
        "tile/1/000.p/1",
        "tile/63/000.p/1",
        "tile/entries/000.p/4",
        "tile/entries/000",
    ],
)
def test_what_the_log_does_not_have_is_not_found(path: str) -> None:
    with pytest.raises(RemoteError) as caught:
        simulated(3).answer(path)
    assert caught.value.reason == "not-found"


def test_the_nth_request_fails_once() -> None:
    log = simulated(300)
    log.checkpoint()
    log.fail_on(2)
    log.fail_on(3, LimitError("too large"))
    log.checkpoint()
    with pytest.raises(RemoteError):
        log.checkpoint()
    with pytest.raises(LimitError):
        list(log.tiles([Tile(0, 0)]))
    assert log.checkpoint()
    assert log.requests == ["checkpoint"] * 3 + ["tile/0/000", "checkpoint"]


def test_the_static_directory_holds_exactly_what_the_log_serves(tmp_path: Path) -> None:
    log = simulated(300)
    log.write_static(tmp_path)
    files = {
        str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()
    }
    assert sorted(files) == [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    ]
    assert all(data == log.answer(path) for path, data in files.items())


def test_a_second_static_writing_adds_and_keeps_old_partials(tmp_path: Path) -> None:
    log = simulated(300)
    log.write_static(tmp_path)
    log.grow(1)
    log.lie(EntryBundle(1, 45), b"junk")
    log.lose(Tile(0, 0))
    log.write_static(tmp_path)
    assert (tmp_path / "tile/0/001.p/44").exists()
    assert (tmp_path / "tile/0/001.p/45").exists()
    assert (tmp_path / "tile/entries/001.p/45").read_bytes() == b"junk"
    assert not (tmp_path / "tile/0/000").exists()
