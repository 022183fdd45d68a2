"""What leaves of a log, as ranges, beside the lists it stands for."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from appliance.jobs.mirror.audit import audit
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.transfer.export import Selection
from appliance.jobs.transfer.items import (
    Items,
    in_order,
    new_entry_bundle_runs,
    new_tile_runs,
    run_of,
)
from appliance.jobs.transfer.offered import Places
from appliance.tlog.tile import WIDTH, EntryBundle, Tile, new_entry_bundles, new_tiles
from tests.mirror.mirrors import sync_from
from tests.transfer.test_transfer import make_gap

SIZES = st.integers(0, 200_000)
PLACES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2000), st.integers(1, WIDTH)), unique=True
)


@given(SIZES, SIZES, st.data())
def test_new_tiles_but_for_some_few(one: int, other: int, data: st.DataObject) -> None:
    old, new = sorted((one, other))
    everything = list(new_tiles(old, new))
    few = data.draw(st.sets(st.sampled_from(everything), max_size=5)) if everything else set()
    items = Items(new_tile_runs(old, new, few, leaves=True))
    assert list(items) == [tile for tile in everything if tile not in few]
    assert list(items) == sorted(items, key=in_order)
    above = Items(new_tile_runs(old, new, few, leaves=False))
    assert list(above) == [tile for tile in items if isinstance(tile, Tile) and tile.level]


@given(SIZES, SIZES)
def test_new_entry_bundles_or_the_newest(one: int, other: int) -> None:
    old, new = sorted((one, other))
    items = list(Items(new_entry_bundle_runs(old, new)))
    if old < new:
        assert items == list(new_entry_bundles(old, new))
    else:
        assert items == list(new_entry_bundles(new - 1, new)) if new else items == []


@given(st.integers(1, 30_000), st.integers(0, 130), st.integers(0, 130))
def test_a_part_is_a_slice(tree_size: int, start: int, stop: int) -> None:
    few = [EntryBundle(9000), EntryBundle(9001)]
    runs = new_tile_runs(0, tree_size, (), leaves=True)
    items = Items([*runs, run_of(few)])
    listed = [*new_tiles(0, tree_size), *few]
    assert (list(items), len(items)) == (listed, len(listed))
    assert list(items.part(start, stop)) == listed[start:stop]


@given(PLACES, st.lists(st.tuples(st.integers(0, 2000), st.integers(1, WIDTH)), unique=True))
def test_places_come_parents_first_with_what_follows_from_entries(
    tiles: list[tuple[int, int, int]], bundles: list[tuple[int, int]]
) -> None:
    offered, entries = Places(Tile), Places(lambda _, index, width: EntryBundle(index, width))
    for level, index, width in tiles:
        offered.add(level, index, width)
    for index, width in bundles:
        entries.add(0, index, width)
    offered.settle()
    entries.settle()
    offered.join(entries)
    expected = sorted(EntryBundle(*one) for one in bundles)
    assert (list(entries), len(entries)) == (expected, len(bundles))
    everything = {Tile(*one) for one in tiles} | {one.tile for one in expected}
    in_their_order = sorted(everything, key=lambda one: (-one.level, one.index, one.width))
    assert (list(offered), len(offered)) == (in_their_order, len(in_their_order))


def test_what_is_stored_wider_leaves_as_wide_as_the_tree_has_it(tmp_path: Path) -> None:
    """A newer head was accepted and some of it is here; the mirror covers the older one."""
    gap = make_gap(tmp_path, 700)
    gap.log.grow(600)
    sync_from(gap.outer, gap.log, Wanted(limit=1))
    cut = Tile(0, 2, 700 - 512)
    assert gap.outer.has_tile(cut.full) and gap.outer.tile_digest(cut) is None
    superseded = sha256(gap.outer.read_tiles([cut])[cut]).digest()
    gap.outer.store.blobs.path(superseded).unlink()  # as an upkeep does: no row names it
    for selection in (Selection(), Selection(entries=True)):
        gap.import_(gap.export(selection).path)
        assert gap.inner_size() == 700
    assert audit(gap.inner, full=True).entry_bundles == 3
