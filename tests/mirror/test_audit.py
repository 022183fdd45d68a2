"""Auditing: any damaged blob is named, incrementally or in full, with one process or two."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from appliance.errors import IncompleteError, StoreError
from appliance.jobs.mirror import audit as audit_module
from appliance.jobs.mirror.audit import audit
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.refetch import refetch
from appliance.jobs.progress import Progress
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.tile import Tile
from tests.mirror.mirrors import make_mirror, sync_from
from tests.simulator import SimulatedLog


def mirrored(directory: Path, n_entries: int) -> tuple[SimulatedLog, Mirror]:
    log = SimulatedLog()
    log.grow(n_entries)
    mirror = make_mirror(directory / "home", log)
    sync_from(mirror, log)
    return log, mirror


def blob_files(mirror: Mirror) -> list[Path]:
    return sorted(path for path in mirror.store.blobs.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600, 65536, 66000])
def test_an_audit_rebuilds_the_signed_root(tmp_path: Path, size: int) -> None:
    log, mirror = mirrored(tmp_path, size)
    report = audit(mirror, full=True)
    assert (report.head, report.from_size) == (log.head, 0)
    assert report.tiles >= -(-size // 256)
    assert report.entry_bundles == -(-size // 256)


def test_a_second_audit_reads_only_what_is_new(tmp_path: Path) -> None:
    log, mirror = mirrored(tmp_path, 5000)
    audit(mirror, full=False)
    log.grow(600)
    sync_from(mirror, log)
    report = audit(mirror, full=False)
    assert (report.head, report.from_size) == (log.head, 5000 // 256 * 256)
    assert report.tiles < 8
    assert audit(mirror, full=True).tiles > 20


def test_an_audit_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, mirror = mirrored(tmp_path, 5000)
    monkeypatch.setattr(audit_module, "STEP_TILES", 4)
    [damaged] = [mirror.tile_digest(Tile(0, 9))]
    assert damaged is not None
    whole = mirror.store.blobs.get(damaged)
    file = next(path for path in blob_files(mirror) if path.read_bytes() == whole)

    class Killed(Progress):
        n = 0

        def __call__(self, more: int) -> None:
            self.n += more
            if self.n == 12:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(mirror, full=True, progress=Killed())
    report = audit(mirror, full=False)
    assert (report.head, report.from_size) == (log.head, 8 * 256)
    assert report.entry_bundles == 20 - 8
    # What is damaged is not passed by: the step that has it is not remembered, nor any after it.
    file.chmod(0o600)
    file.write_bytes(bytes(len(whole)))
    with pytest.raises(StoreError, match="tile/0/009"):
        audit(mirror, full=True)
    assert mirror.audited()[0] == 8 * 256
    with pytest.raises(StoreError, match="tile/0/009"):
        audit(mirror, full=False)


def test_two_processes_find_the_same(tmp_path: Path) -> None:
    log, mirror = mirrored(tmp_path, 5000)
    assert audit(mirror, full=True, jobs=2) == audit(mirror, full=True, jobs=1)
    assert log.head.tree_size == 5000


def test_every_damaged_blob_is_named_and_repaired_by_index(tmp_path: Path) -> None:
    log, mirror = mirrored(tmp_path, 1500)
    choose = random.Random(1)  # noqa: S311 a seeded choice of bytes
    for path in blob_files(mirror):
        whole = path.read_bytes()
        position = choose.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(StoreError) as caught:
            audit(mirror, full=True)
        assert caught.value.reason == "corrupt" and "tile/" in caught.value.message
        path.unlink()
        with pytest.raises(StoreError):
            audit(mirror, full=True)
        refetch(mirror, log, range(6))
        assert audit(mirror, full=True).head == log.head


def test_a_row_that_names_another_tiles_blob_is_noticed(tmp_path: Path) -> None:
    _, mirror = mirrored(tmp_path, 1500)
    mirror.store.execute(
        "UPDATE tile SET digest = (SELECT digest FROM tile WHERE level = 0 AND tile_index = 0)"
        " WHERE level = 0 AND tile_index = 1"
    )
    with pytest.raises(StoreError) as caught:
        audit(mirror, full=True)
    assert "tile/0/001" in caught.value.message


def test_a_mirror_without_coverage_cannot_be_audited(tmp_path: Path) -> None:
    log = SimulatedLog()
    log.grow(70000)
    mirror = make_mirror(tmp_path / "home", log)
    for wanted in (None, Wanted(tiles=False)):
        if wanted:
            sync_from(mirror, log, wanted)
        with pytest.raises(IncompleteError):
            audit(mirror, full=True)
    with pytest.raises(IncompleteError):
        refetch(mirror, log, [274])
