"""checkpoint add and prune, and what a run leaves behind of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import DivergenceError
from appliance.store.divergence.seen import waiting_seen
from appliance.store.home.counters import counters
from appliance.store.home.runs import command_runs
from appliance.store.lock import writer_lock
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.mirror.mirrors import sync_from
from tests.simulator import SimulatedLog

DAY = 86_400


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    found = MirroredHome(tmp_path / "home", capsys, "connected")
    found.sync(300)
    return found


def note_file(tmp_path: Path, note: bytes) -> Path:
    file = tmp_path / "note"
    file.write_bytes(note)
    return file


def test_a_prefix_seen_elsewhere_is_proven_and_kept(home: MirroredHome, tmp_path: Path) -> None:
    file = note_file(tmp_path, home.log.checkpoint_at(77))
    [one] = home.json("checkpoints", "add", file)["checkpoints"]
    assert (one["standing"], one["treeSize"], one["acceptedSize"]) == ("proven", 77, 300)
    listed = home.json("checkpoint", "list")["checkpoints"]
    assert [(at["treeSize"], at["source"]) for at in listed] == [(77, "seen"), (300, "direct")]
    home.json("checkpoint", "verify", "--backend", "sim")


def test_a_larger_one_waits_and_is_compared_once_our_tree_is_there(
    home: MirroredHome, tmp_path: Path
) -> None:
    twin = home.log.fork(at=300)
    twin.grow(100)
    home.log.stall()
    home.log.grow(200)
    honest = note_file(tmp_path, home.log.checkpoint_at(350))
    assert home.json("checkpoint", "add", honest)["checkpoints"][0]["standing"] == "larger"
    home.json("checkpoint", "add", note_file(tmp_path, twin.checkpoint_at(360)))
    with home.mirror() as mirror:
        assert len(waiting_seen(mirror.store, mirror.log)) == 2
    home.log.resume()
    with home.mirror() as mirror, pytest.raises(DivergenceError):
        sync_from(mirror, home.log)
    with home.mirror() as mirror:
        assert waiting_seen(mirror.store, mirror.log) == ()
        assert mirror.history.accepted_sizes() == [300, 350, 500]
    assert home.json("alerts", "list")["alerts"][0]["type"] == "RootHashMismatch"


def test_one_that_contradicts_us_is_code_4_with_alert_and_quarantine(
    home: MirroredHome, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    good.write_bytes(home.log.checkpoint_at(5))
    bad = note_file(tmp_path, home.log.fork(at=5).checkpoint_at(77))
    assert home.json("checkpoint", "add", bad, good, expect=4)["reason"] == "root-mismatch"
    assert home.json("quarantine", "list")["quarantines"][0]["lastCommonSize"] == 0
    payload = home.json("alerts", "show", "1")["payload"]
    assert payload["description"].startswith(f"{bad} offered 77 entries")  # where to look for it
    with home.mirror() as mirror:
        assert mirror.history.accepted_sizes() == [5, 300]  # the other file was heard


@pytest.mark.parametrize(
    ("note", "code"),
    [(b"", 3), (b"junk", 3), (b"log.example\n1\n\n", 3)],
)
def test_what_is_no_note_of_ours_is_refused(
    home: MirroredHome, tmp_path: Path, note: bytes, code: int
) -> None:
    home.json("checkpoint", "add", note_file(tmp_path, note), expect=code)
    stranger = SimulatedLog("other.example")
    stranger.grow(3)
    unknown = note_file(tmp_path, stranger.checkpoint())
    assert home.json("checkpoint", "add", unknown, expect=5)["reason"] == "unknown-log"


def test_prune_forgets_old_checkpoints_and_never_what_something_rests_on(
    home: MirroredHome, tmp_path: Path
) -> None:
    for day in range(1, 6):
        home.sync(10, now=NOW - (6 - day) * DAY)
    twin = home.log.fork(at=2)
    with home.mirror() as mirror, pytest.raises(DivergenceError):
        sync_from(mirror, twin, now=NOW)
    prune = ("checkpoints", "prune", "--keep-latest", "--older-than")
    assert home.json(*prune, "30d")["logs"][0]["pruned"] == 0
    with home.mirror() as mirror, mirror.store.atomic():
        mirror.store.execute("UPDATE checkpoint SET stored_at = stored_at - ?", [24 * DAY])
    dry = home.json(*prune, "720h", "--dry-run")["logs"][0]
    assert dry["treeSizes"] == []
    assert home.json(*prune, "590h", "--dry-run")["logs"][0]["treeSizes"] == [310, 320, 330, 340]
    assert home.json(*prune, "638h")["logs"][0]["treeSizes"] == [310, 320, 330]
    listed = home.json("checkpoint", "list")["checkpoints"]
    assert [one["treeSize"] for one in listed] == [300, 340, 350]
    assert home.json(*prune, "1s")["logs"][0]["treeSizes"] == [300, 340]
    assert home.json("checkpoint", "verify", "--backend", "sim")["checkpoints"] == 1


def test_the_exit_code_of_a_run_is_remembered_and_so_is_a_lock(home: MirroredHome) -> None:
    home.json("sync", expect=9)  # this backend has no URL
    with writer_lock(home.path, holder="a test", wait_seconds=0, sleep=lambda _: None):
        home.json("sync", expect=75)
        home.json("checkpoints", "verify", "--backend", "sim", expect=75)
    with home.mirror() as mirror:
        runs = {one.command: one.exit_code for one in command_runs(mirror.store)}
        errors = list(counters(mirror.store, "attestor_rekor_sync_errors_total"))
    assert runs == {"sync": 75}  # typed by hand with options, verify is no schedule
    assert [(one.labels, one.value) for one in errors] == [
        ({"backend": "sim", "error_type": "locked"}, 1.0)
    ]
    home.json("checkpoint", "list")
    with home.mirror() as mirror:
        assert len(command_runs(mirror.store)) == 1
