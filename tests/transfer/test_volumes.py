"""Exports in volumes: each stands alone, in any order, and the set brings everything."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from appliance.errors import ArgumentError, StoreError
from appliance.jobs.mirror.audit import audit
from appliance.jobs.transfer.export import ExportReport, Selection
from appliance.jobs.transfer.receipt_text import NAMED_VOLUMES, volumes_text, volumes_to_come
from appliance.store.transfer.transfers import exports_of
from bundles.reader import peek_members
from tests.transfer.test_transfer import Gap, make_gap

LIMIT = 64 * 1024


def in_volumes(gap: Gap, since: int | None = None, suffix: str = ".tar") -> ExportReport:
    selection = Selection(since_size=since, entries=True, volume_bytes=LIMIT)
    return gap.export(selection, suffix)


@pytest.mark.parametrize("suffix", [".tar", ".tar.zst"])
@pytest.mark.parametrize("seed", range(3))
def test_volumes_import_in_any_order_and_the_head_moves_when_the_set_completes(
    tmp_path: Path, seed: int, suffix: str
) -> None:
    gap = make_gap(tmp_path, 3000)
    gap.import_(gap.export().path)
    gap.grow_and_sync(9000)
    report = in_volumes(gap, 3000, suffix)
    volumes = list(report.volumes)
    assert len(volumes) > 2
    assert {one.manifest.volume.set_name for one in volumes} == {report.manifest.volume.set_name}
    assert [one.manifest.volume.number for one in volumes] == list(range(1, len(volumes) + 1))
    assert all(one.path.stat().st_size <= LIMIT for one in volumes)
    random.Random(seed).shuffle(volumes)  # noqa: S311 an order, no secret
    for one in volumes[:-1]:
        gap.import_(one.path)
        assert gap.inner_size() == 3000
    gap.import_(volumes[-1].path)
    assert gap.inner_size() == 12000
    audited = audit(gap.inner, full=True)
    assert (audited.head, audited.entry_bundles) == (gap.log.head, 47)


def test_a_volume_may_be_the_first_contact(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9000)
    volumes = in_volumes(gap).volumes
    for one in reversed(volumes):
        assert gap.inner_size() is None
        gap.import_(one.path)
    assert gap.inner_size() == 9000
    assert audit(gap.inner, full=True).head == gap.log.head


def test_a_lost_volume_costs_one_volume(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9000)
    volumes = in_volumes(gap).volumes
    for one in volumes[:-1]:
        gap.import_(one.path)
    held = {row[0] for row in gap.inner.store.rows("SELECT digest FROM tile")}
    assert gap.inner_size() is None
    again = in_volumes(gap)
    assert again.volumes[-1].sha256 == volumes[-1].sha256 or len(again.volumes) == len(volumes)
    gap.import_(again.volumes[-1].path)
    assert gap.inner_size() == 9000
    assert held <= {row[0] for row in gap.inner.store.rows("SELECT digest FROM tile")}


def test_a_volume_that_comes_after_a_newer_head_still_fills(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9000)
    gap.import_(gap.export().path)
    gap.grow_and_sync(70_000)
    volumes = in_volumes(gap, 9000).volumes
    gap.import_(volumes[0].path)
    gap.grow_and_sync(500)
    newer = gap.export(Selection(since_size=79_000, entries=True))
    [log] = gap.import_(newer.path).logs
    assert "--base 9000" in log.fill and gap.inner_size() == 9000
    for one in volumes[1:]:
        gap.import_(one.path)
    assert gap.inner_size() == 79_500
    assert audit(gap.inner, full=True).head == gap.log.head


def test_a_set_is_one_export(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9000)
    in_volumes(gap)
    gap.grow_and_sync(100)
    in_volumes(gap)
    found = exports_of(gap.outer.store, gap.log.origin)
    assert [one.head_size for one in found] == [9100, 9000]


def test_what_does_not_fit_is_said_with_the_size_that_would_do(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9000)
    with pytest.raises(ArgumentError) as caught:
        gap.export(Selection(volume_bytes=30_000))
    assert caught.value.reason == "volume-too-small"
    enough = int(caught.value.next_step.split()[2])
    assert gap.export(Selection(volume_bytes=enough)).volumes[0].path.stat().st_size <= enough
    assert len(list(tmp_path.glob("*.tar"))) > 1


def test_the_size_that_is_named_first_does(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    entropy = random.Random(8)  # noqa: S311 sizes, no secret
    gap.log.grow([entropy.randbytes(number) for number in range(700)])  # each larger
    gap.grow_and_sync(1)
    with pytest.raises(ArgumentError) as caught:
        gap.export(Selection(entries=True, volume_bytes=30_000))
    enough = int(caught.value.next_step.split()[2])
    for one in gap.export(Selection(entries=True, volume_bytes=enough)).volumes:
        assert one.path.stat().st_size <= enough


def test_a_volume_counts_no_tile_that_follows_from_its_entries(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9000)
    whole = gap.export(Selection(entries=True)).path.stat().st_size
    room = whole + 32 * 1024  # for the front; the 35 tiles have 300 KB
    assert len(gap.export(Selection(entries=True, volume_bytes=room)).volumes) == 1


def test_a_tile_that_follows_from_entries_is_no_member_even_where_it_proves_the_head(
    tmp_path: Path,
) -> None:
    gap = make_gap(tmp_path, 9000)  # the last tile is on the edge that proves the head
    with gap.export(Selection(entries=True)).path.open("rb") as file:
        paths = [path.partition("/tile/")[2] for path, _ in peek_members(file, lambda _: True)]
    assert "entries/035.p/40.zst" in paths
    assert [one for one in paths if one.startswith("0/")] == []


def test_parts_of_another_set_are_not_mixed_with(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9000)
    first = in_volumes(gap)
    gap.grow_and_sync(100)
    gap.count = 0  # the same name
    with pytest.raises(StoreError) as caught:
        in_volumes(gap)
    assert caught.value.reason == "file-exists"
    assert all(Path(one.path).exists() for one in first.volumes)


def test_a_set_that_was_interrupted_is_completed_by_the_same_command(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9000)
    first = in_volumes(gap)
    whole = first.volumes[1].path.read_bytes()
    for one in first.volumes[1:]:
        one.path.unlink()
    gap.count = 0
    again = in_volumes(gap)
    assert not again.already and again.volumes[0].already
    assert again.volumes[1].path.read_bytes() == whole


def test_the_ending_of_the_name_is_demanded(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9)
    for suffix in (".zip", ".tar.bz2", "", ".gz"):
        with pytest.raises(ArgumentError) as caught:
            gap.export(suffix=suffix)
        assert caught.value.reason == "file-name"
        assert ".tar.zst" in caught.value.message
        assert f"name it stick-{gap.count}.tar, or" in caught.value.next_step


def test_in_a_directory_the_name_says_what_it_is_and_fat_takes_it(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 9)
    stick = tmp_path / "stick"
    stick.mkdir()
    from appliance.jobs.transfer.export import export
    from appliance.tlog.note import sign_note
    from tests.mirror.mirrors import NOW
    from tests.transfer.test_transfer import SITE_KEY

    report = export(
        gap.outer.store,
        [gap.outer.log],
        Selection(),
        stick,
        lambda text: sign_note(text, [SITE_KEY]),
        NOW,
    )
    assert report.path == stick / "outside.example-20251009t085320z-0-9.tar"
    gap.import_(report.path)
    assert gap.inner_size() == 9


def test_what_is_still_to_come_is_named_up_to_a_hundred_volumes() -> None:
    """How many there are is the exporter's claim, and decides neither time nor memory."""
    assert volumes_to_come(4, {2, 9}) == (1, 3, 4)
    assert volumes_text(volumes_to_come(4, {2, 9})) == "1, 3, 4"
    assert volumes_to_come(2**62, {1}) == tuple(range(2, NAMED_VOLUMES + 2))
    assert volumes_text(volumes_to_come(2**62, {1})).endswith("100, 101, …")
