"""What far sides say they hold, and where an export starts because of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.transfer.export import Selection
from appliance.store.database import Store
from appliance.store.transfer.transfers import FarHead, far_heads, put_far_head
from appliance.store.verify.trust import (
    MAX_FILES,
    ArrivedFile,
    arrived_files,
    forget_oldest,
    put_arrived,
)
from appliance.tlog.merkle import Hash
from tests.mirror.mirrors import sync_from
from tests.transfer.test_transfer import Gap, make_gap

LOG = "log.example"
NOW = 10**9
OTHER_ROOT = Hash(bytes(32))


def told(store: Store, size: int, at: int, root: Hash = OTHER_ROOT, site: str = "in") -> None:
    with store.atomic():
        put_far_head(store, FarHead(site, LOG, size, root, at, "have"), NOW)


def sizes(store: Store) -> list[int]:
    return [far.tree_size for far in far_heads(store, LOG)]


def test_an_old_word_changes_nothing_and_a_wrong_clock_not_for_long(tmp_path: Path) -> None:
    store = make_gap(tmp_path, 1).outer.store
    for size, at, expected in (
        (100, 50, 100),
        (90, 40, 100),  # an old stick
        (90, 60, 90),  # a home was lost over there
        (200, 10**10, 200),  # a clock that is wrong silences nobody
        (150, 70, 150),
        (140, 69, 150),
        (300, 80, 300),  # and right again
    ):
        told(store, size, at)
        assert sizes(store) == [expected]


def test_the_far_side_that_holds_least_decides_unless_one_is_named(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    for name, size in (("a", 100), ("b", 200)):
        told(gap.outer.store, size, 1, gap.log.head_at(size).root_hash, name)
    cases: tuple[tuple[str | None, int | None], ...]
    cases = ((None, 100), ("b", 200), ("unheard-of", None))
    for site, expected in cases:
        report = gap.export(Selection(far_side=True, site=site))
        base = report.manifest.logs[0].base
        assert (base and base.tree_size) == expected
        assert [one.partition(" ")[0] for one in report.warnings] == (
            [site] if site == "unheard-of" else []
        )


def test_a_tree_that_is_not_ours_is_warned_about_and_decides_nothing(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    told(gap.outer.store, 100, 1)
    report = gap.export(Selection(far_side=True))
    assert report.manifest.logs[0].base is None
    assert "fork" in report.warnings[0]


def test_one_that_is_ahead_of_us_gets_our_head(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    told(gap.outer.store, 500, 1)
    base = gap.export(Selection(far_side=True)).manifest.logs[0].base
    assert base is not None and base.tree_size == 300


def test_what_cannot_be_compared_without_tiles_decides_nothing(tmp_path: Path) -> None:
    gap = Gap(tmp_path, 70_000)
    sync_from(gap.outer, gap.log, Wanted(tiles=False))
    told(gap.outer.store, 1_000, 1, gap.log.head_at(1_000).root_hash)
    report = gap.export(Selection(far_side=True, tiles=False))
    assert report.manifest.logs[0].base is None
    assert "cannot be compared" in report.warnings[0]


@pytest.mark.parametrize("surplus", [0, 5])
def test_of_trust_material_only_the_newest_is_kept(tmp_path: Path, surplus: int) -> None:
    store = make_gap(tmp_path, 1).outer.store
    with store.atomic():
        for number in range(MAX_FILES + surplus):
            put_arrived(store, ArrivedFile("trusted_root.json", b"%d" % number, "0" * 64, number))
        forget_oldest(store)
    found = arrived_files(store)
    assert len(found) == MAX_FILES and found[-1].arrived_at == surplus
