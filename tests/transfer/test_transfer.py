"""Export on one side of the gap, import on the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import (
    ApplianceError,
    DivergenceError,
    IncompleteError,
    ProofError,
    RefusedError,
    StoreError,
)
from appliance.jobs.mirror.audit import audit
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.transfer.export import ExportReport, Selection, export
from appliance.jobs.transfer.ingest import IngestReport, Rules, ingest
from appliance.jobs.transfer.manifest import Remarks
from appliance.policy.relate import Relation
from appliance.store.home.settings import SITE_NAME, put_site_fact
from appliance.store.mirror.mirror import Mirror
from appliance.store.transfer.transfers import EXPORTER, add_exporter, remove_exporter
from appliance.tlog.note import SigningKey, sign_note
from bundles.errors import BundleError
from tests.mirror.mirrors import NOW, make_mirror, stored_state, sync_from
from tests.simulator import SimulatedLog

SITE_KEY = SigningKey("outside.example", bytes(range(32, 64)))
WHOLE = Selection(entries=True)


class Gap:
    """An outer mirror of a log, and an inner one that only files reach."""

    def __init__(self, directory: Path, n_entries: int) -> None:
        self.directory = directory
        self.log = SimulatedLog()
        self.log.grow(n_entries)
        self.outer = make_mirror(directory / "outer", self.log)
        self.inner = make_mirror(directory / "inner", self.log)
        with self.outer.store.atomic():
            put_site_fact(self.outer.store, SITE_NAME, SITE_KEY.name)
        add_exporter(self.inner.store, SITE_KEY.verifier, [EXPORTER], NOW)
        self.count = 0

    def grow_and_sync(self, n_entries: int) -> None:
        self.log.grow(n_entries)
        sync_from(self.outer, self.log)

    def export(self, selection: Selection = WHOLE, suffix: str = ".tar") -> ExportReport:
        self.count += 1
        path = self.directory / f"stick-{self.count}{suffix}"
        return export(
            self.outer.store,
            [self.outer.log],
            selection,
            path,
            lambda text: sign_note(text, [SITE_KEY]),
            NOW + self.count,
        )

    def import_(self, path: Path, rules: Rules | None = None) -> IngestReport:
        return ingest(self.inner.store, path, rules or Rules(), NOW + 1000)

    def inner_size(self) -> int | None:
        head = self.inner.history.mirror_checkpoint()
        return head.head.tree_size if head else None


def make_gap(directory: Path, n_entries: int) -> Gap:
    gap = Gap(directory, n_entries)
    sync_from(gap.outer, gap.log)
    return gap


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
@pytest.mark.parametrize("entries", [False, True])
def test_a_full_transfer_gives_the_inner_site_the_same_proven_mirror(
    tmp_path: Path, suffix: str, entries: bool
) -> None:
    gap = make_gap(tmp_path, 700)
    report = gap.import_(gap.export(Selection(entries=entries), suffix).path)
    assert gap.inner_size() == 700
    assert (report.signers, report.already, report.skipped) == (("outside.example",), False, ())
    audited = audit(gap.inner, full=True)
    assert (audited.head, audited.entry_bundles) == (gap.log.head, 3 if entries else 0)
    notes = [gap.outer.history.notes(700), gap.inner.history.notes(700)]
    assert notes[0] == notes[1]


def test_deltas_carry_the_inner_site_along(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 1)
    gap.import_(gap.export().path)
    for growth in (1, 3, 250, 1, 1, 300, 66000):
        held = gap.inner_size()
        gap.grow_and_sync(growth)
        delta = gap.export(Selection(since_size=held, entries=True))
        assert delta.manifest.logs[0].base is not None
        report = gap.import_(delta.path)
        assert report.logs[0].report is not None
        assert report.logs[0].report.relation is Relation.AHEAD
        assert gap.inner_size() == gap.log.head.tree_size
    assert audit(gap.inner, full=True).head == gap.log.head


def test_a_site_ahead_of_the_base_takes_the_delta_too(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    gap.import_(gap.export().path)
    for growth in (1, 100, 155, 1, 600):
        gap.grow_and_sync(growth)
        gap.import_(gap.export(Selection(since_size=300, entries=True)).path)
        assert gap.inner_size() == gap.log.head.tree_size


def test_importing_twice_or_late_is_harmless(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    first = gap.export().path
    gap.grow_and_sync(300)
    second = gap.export(Selection(since_size=300, entries=True)).path
    gap.import_(first)
    gap.import_(second)
    before = stored_state(gap.inner.store)
    again = gap.import_(second)
    assert again.already and again.logs[0].need == 0
    assert stored_state(gap.inner.store) == before
    late = gap.import_(first)
    assert late.logs[0].report is not None
    assert late.logs[0].report.relation is Relation.BEHIND
    assert gap.inner_size() == 600


def test_a_missing_base_is_named_with_the_command_that_helps(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    gap.import_(gap.export().path)
    gap.grow_and_sync(100)
    gap.grow_and_sync(100)
    lost = gap.export(Selection(since_size=400, entries=True)).path
    with pytest.raises(IncompleteError) as caught:
        gap.import_(lost)
    assert caught.value.reason == "missing-base"
    assert "--base 300" in caught.value.next_step


def test_overlap_survives_lost_sticks(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    overlap = Selection(overlap=3, entries=True)
    gap.import_(gap.export(overlap).path)
    for _ in range(4):
        for _ in range(2):  # two exports are lost
            gap.grow_and_sync(70)
            gap.export(overlap)
        gap.grow_and_sync(70)
        report = gap.export(overlap)
        gap.import_(report.path)
        assert gap.inner_size() == gap.log.head.tree_size
    assert report.manifest.logs[0].base is not None


def test_a_checkpoint_only_mirror_can_be_carried(tmp_path: Path) -> None:
    gap = Gap(tmp_path, 70000)
    sync_from(gap.outer, gap.log, Wanted(tiles=False))
    gap.import_(gap.export(Selection(tiles=False)).path)
    gap.log.grow(1000)
    sync_from(gap.outer, gap.log, Wanted(tiles=False))
    report = gap.import_(gap.export(Selection(since_size=70000, tiles=False)).path)
    assert report.logs[0].report is not None
    assert report.logs[0].report.accepted_size == 71000


def test_a_forked_log_is_caught_inside_too(tmp_path: Path) -> None:
    gap = make_gap(tmp_path / "one", 300)
    gap.import_(gap.export().path)
    other = make_gap(tmp_path / "two", 1)
    other.log = gap.log.fork(at=5)
    other.log.grow(100)
    other.outer = make_mirror(tmp_path / "two" / "outer2", other.log)
    with other.outer.store.atomic():
        put_site_fact(other.outer.store, SITE_NAME, SITE_KEY.name)
    sync_from(other.outer, other.log)
    forged = other.export()
    before = stored_state(gap.inner.store)
    with pytest.raises(DivergenceError):
        gap.import_(forged.path)
    assert stored_state(gap.inner.store) == before


def test_unknown_and_withdrawn_exporters_are_refused(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 10)
    path = gap.export().path
    remove_exporter(gap.inner.store, SITE_KEY.verifier, NOW)
    with pytest.raises(RefusedError) as caught:
        gap.import_(path)
    assert caught.value.reason == "unknown-exporter"
    assert gap.inner_size() is None
    gap.import_(path, Rules(unsigned=True))
    assert gap.inner_size() == 10
    assert gap.inner.store.rows("SELECT unsigned FROM transfer")[0][0] == 1


def test_a_threshold_counts_distinct_exporters(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 10)
    path = gap.export().path
    with pytest.raises(RefusedError) as caught:
        gap.import_(path, Rules(threshold=2))
    assert caught.value.reason == "below-threshold"


def test_a_log_that_is_not_configured_is_skipped_or_the_answer_is_incomplete(
    tmp_path: Path,
) -> None:
    gap = make_gap(tmp_path, 10)
    path = gap.export().path
    stranger = SimulatedLog(origin="other.example")
    inner = make_mirror(tmp_path / "elsewhere", stranger)
    add_exporter(inner.store, SITE_KEY.verifier, [EXPORTER], NOW)
    with pytest.raises(IncompleteError) as caught:
        ingest(inner.store, path, Rules(), NOW)
    assert caught.value.reason == "unknown-log"


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 700)
    path = gap.export().path
    before = stored_state(gap.inner.store)
    report = gap.import_(path, Rules(dry_run=True))
    assert report.logs[0].need == 3 + 1 + 3  # level 0, level 1, entry bundles
    assert stored_state(gap.inner.store) == before
    assert gap.inner.store.rows("SELECT * FROM transfer") == []


def test_every_flipped_bit_and_every_truncation_changes_nothing(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 2)
    whole = gap.export().path.read_bytes()
    before = stored_state(gap.inner.store)
    damaged_path = tmp_path / "damaged.tar"
    assert len(whole) <= 16384
    damaged = bytearray(whole)
    # Every bit of the format is flipped in tests/bundles; here one bit a byte, all the way in.
    for position in range(len(whole)):
        damaged[position] ^= 1 << position % 8
        damaged_path.write_bytes(damaged)
        damaged[position] ^= 1 << position % 8
        with pytest.raises((BundleError, ApplianceError)) as caught:
            gap.import_(damaged_path)
        assert not isinstance(caught.value, IncompleteError), position
    for length in range(0, len(whole), 7):
        damaged_path.write_bytes(whole[:length])
        with pytest.raises((BundleError, ApplianceError)):
            gap.import_(damaged_path)
    assert stored_state(gap.inner.store) == before
    assert gap.inner.store.rows("SELECT * FROM transfer") == []
    damaged_path.write_bytes(whole)
    gap.import_(damaged_path)
    assert gap.inner_size() == 2


def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 2)
    path = gap.export().path
    link = tmp_path / "link.tar"
    link.symlink_to(path)
    with pytest.raises(RefusedError):
        gap.import_(link)
    fifo = tmp_path / "fifo.tar"
    os.mkfifo(fifo)
    with pytest.raises(RefusedError):
        gap.import_(fifo)
    for wrong in (tmp_path, Path("/dev/zero")):
        with pytest.raises(ApplianceError):
            gap.import_(wrong)
    with pytest.raises(IncompleteError):
        gap.import_(tmp_path / "absent.tar")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_the_same_export_asked_for_again_is_there_already(tmp_path: Path, suffix: str) -> None:
    gap = make_gap(tmp_path, 300)
    overlap = Selection(overlap=1, entries=True)
    gap.export(overlap)
    gap.grow_and_sync(10)
    first = gap.export(overlap, suffix)
    held = first.path.read_bytes()
    for record_is_lost in (False, True):
        if record_is_lost:
            with gap.outer.store.atomic():
                for table in ("transfer_log", "transfer"):
                    gap.outer.store.execute(
                        f"DELETE FROM {table} WHERE bundle_id = ?",  # noqa: S608 fixed names
                        [first.bundle_id],
                    )
        gap.count = 1  # the same name, a later second
        again = gap.export(overlap, suffix)
        assert (again.already, again.bundle_id, again.sha256) == (
            True,
            first.bundle_id,
            first.sha256,
        )
        assert first.path.read_bytes() == held
        assert len(gap.outer.store.rows("SELECT * FROM transfer")) == 2


def test_another_file_of_that_name_stays(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 300)
    path = gap.export().path
    whole = path.read_bytes()
    others = [whole[:-1], whole + b"\0", whole[:-3000] + b"!" + whole[-2999:], b"", b"holiday"]
    for other in others:
        path.write_bytes(other)
        gap.count = 0
        with pytest.raises(StoreError) as caught:
            gap.export()
        assert caught.value.reason == "file-exists"
        assert path.read_bytes() == other
    path.write_bytes(whole)
    gap.grow_and_sync(1)
    for changed in (WHOLE, Selection(), Selection(entries=True, remarks=Remarks("another"))):
        gap.count = 0
        with pytest.raises(StoreError):
            gap.export(changed)
    assert path.read_bytes() == whole


def test_a_base_beyond_the_head_is_a_mistake(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 2)
    with pytest.raises(IncompleteError):
        gap.export(Selection(since_size=3))


@pytest.mark.parametrize("later", [0, 300])
def test_importing_again_puts_back_what_rotted(tmp_path: Path, later: int) -> None:
    gap = make_gap(tmp_path, 700)
    path = gap.export().path
    gap.import_(path)
    if later:  # the mirror has gone on; what was full then is the same still
        gap.grow_and_sync(later)
        gap.import_(gap.export(Selection(since_size=700, entries=True)).path)
    before = stored_state(gap.inner.store)
    rotten = [
        row["digest"]
        for table in ("tile", "entry_bundle")
        for row in gap.inner.store.rows(f"SELECT digest FROM {table} WHERE width = 256")  # noqa: S608 ours
    ]
    for number, digest in enumerate(rotten):
        blob = gap.inner.store.blobs.path(digest)
        if number % 2:
            blob.unlink()
        else:
            blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])
    with pytest.raises(ApplianceError):
        audit(gap.inner, full=True)
    report = gap.import_(path)
    assert report.logs[0].healed == 4  # two tiles and two entry bundles that were full then
    if later:
        gap.import_(gap.export(Selection(since_size=700, entries=True)).path)
    assert stored_state(gap.inner.store) == before
    assert audit(gap.inner, full=True).head == gap.log.head
    assert gap.import_(path).logs[0].healed == 0


def test_a_rotten_right_edge_is_put_back_too(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 700)
    path = gap.export().path
    gap.import_(path)
    for row in gap.inner.store.rows(
        "SELECT digest FROM tile UNION SELECT digest FROM entry_bundle"
    ):
        gap.inner.store.blobs.path(row["digest"]).write_bytes(b"")
    assert gap.import_(path).logs[0].healed == 7
    assert audit(gap.inner, full=True).head == gap.log.head


def test_an_exporter_cannot_heal_with_other_bytes(tmp_path: Path) -> None:
    """A signed transfer bundle with another entry where ours is damaged changes nothing."""
    gap = make_gap(tmp_path, 300)
    gap.import_(gap.export().path)
    before = stored_state(gap.inner.store)
    other = make_gap(tmp_path / "other", 1)
    other.log = gap.log.fork(at=5)
    other.outer = make_mirror(tmp_path / "other" / "outer2", other.log)
    with other.outer.store.atomic():
        put_site_fact(other.outer.store, SITE_NAME, SITE_KEY.name)
    sync_from(other.outer, other.log)
    forged = other.export().path
    [row] = gap.inner.store.rows("SELECT digest FROM tile WHERE level = 0 AND width = 256")
    gap.inner.store.blobs.path(row["digest"]).unlink()
    with pytest.raises(DivergenceError):
        gap.import_(forged)
    assert stored_state(gap.inner.store) == before
    assert not gap.inner.store.blobs.path(row["digest"]).exists()


def test_a_damaged_blob_is_not_exported(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 600)
    [digest] = Mirror(gap.outer.store, gap.outer.log).tile_digests(0, range(1))
    assert digest is not None
    gap.outer.store.blobs.path(digest).write_bytes(b"damaged")
    with pytest.raises(ApplianceError):
        gap.export(Selection())
    assert list(tmp_path.glob("*.tar")) == []
    assert list(tmp_path.glob(".*")) == []


def test_an_interrupted_import_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap = make_gap(tmp_path, 1500)
    path = gap.export().path
    monkeypatch.setattr("appliance.jobs.mirror.fill.BATCH_TILES", 1)
    real_name = Mirror._name
    for _ in range(4):
        calls = 0

        def failing(self: Mirror, rows: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise KeyboardInterrupt
            real_name(self, rows)

        monkeypatch.setattr(Mirror, "_name", failing)
        with pytest.raises(KeyboardInterrupt):
            gap.import_(path)
        monkeypatch.setattr(Mirror, "_name", real_name)
    gap.import_(path)
    assert gap.inner_size() == 1500
    assert audit(gap.inner, full=True).entry_bundles == 6


def test_more_processes_store_the_same(tmp_path: Path) -> None:
    gap = make_gap(tmp_path, 70_000)
    path = gap.export(Selection()).path
    report = gap.import_(path, Rules(jobs=2))
    assert report.logs[0].need == 273 + 1 + 1 + 1 + 1  # a partial tile at each of three levels
    one = make_mirror(tmp_path / "one", gap.log)
    add_exporter(one.store, SITE_KEY.verifier, [EXPORTER], NOW)
    ingest(one.store, path, Rules(), NOW + 1000)
    assert stored_state(one.store) == stored_state(gap.inner.store)
    assert audit(gap.inner, full=True, jobs=2).head == gap.log.head


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_tile_that_an_exporter_made_up_is_not_stored(tmp_path: Path, jobs: int) -> None:
    gap = make_gap(tmp_path, 1200)
    made_up = bytes(range(256)) * 32
    [digest] = gap.outer.store.blobs.put([made_up])
    with gap.outer.store.atomic():  # the stick is in order: signed, and every digest right
        gap.outer.store.execute(
            "UPDATE tile SET digest = ? WHERE level = 0 AND tile_index = 2", [digest]
        )
    path = gap.export(Selection()).path
    with pytest.raises(ProofError) as caught:
        gap.import_(path, Rules(jobs=jobs))
    assert "tile/0/002" in caught.value.message
    assert not gap.inner.store.blobs.path(digest).exists()
    assert gap.inner_size() is None
