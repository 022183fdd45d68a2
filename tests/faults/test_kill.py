"""kill -9 as each system call that changes a file is made, and what the next run finds.

Every few places; all of them with ATTESTOR_SOAK=1 in the environment.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from appliance.store.home.key_files import load_signing_key
from tests.faults.attempts import COMPRESSED, IN_VOLUMES, SOAK, Attempts, ExportAttempts
from tests.faults.sites import Sites, copied, succeed
from tests.faults.strace import Finished, Place, places, require_strace, run_killed
from tests.private_log.other_server import OtherServer
from tests.private_log.private_homes import ORIGIN, check_home, log_bodies, make_home
from tests.private_log.test_move import may_sign, may_start

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _strace() -> None:
    require_strace()


def kill_at_every(attempts: Attempts, step: int) -> int:
    of_workers, has_workers = attempts.of_workers, "--jobs" in attempts.arguments

    def run(place: Place) -> Finished | None:
        finished = run_killed(attempts.program, place, attempts.trace, of_workers=of_workers)
        if not finished.met(place):
            return None
        # With processes that hash, one of them may come first to make its n-th such call.
        expected = [*([] if of_workers else [-signal.SIGKILL]), *([6] if has_workers else [])]
        assert finished.code in expected, finished
        return finished

    return attempts.at_every(step, run)


def test_a_killed_import_is_completed_by_the_next(sites: Sites, place: Path) -> None:
    attempts = Attempts(sites.inside, ["import", sites.stick], place)
    made = {one.call for one in attempts.places}
    assert made >= {"write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "openat"}
    assert kill_at_every(attempts, 7) > 12


def test_a_killed_import_that_is_flushed_in_one_is_completed_by_the_next(
    new_sites: Sites, place: Path
) -> None:
    attempts = Attempts(new_sites.inside, ["import", new_sites.stick], place)
    assert "syncfs" in {one.call for one in attempts.places}
    assert kill_at_every(attempts, 36) > 4


def test_an_import_whose_workers_are_killed_is_completed_by_the_next(
    new_sites: Sites, place: Path
) -> None:
    words: list[str | Path] = ["import", "--jobs", "2", new_sites.of_tiles(place)]
    attempts = Attempts(new_sites.inside, words, place, of_workers=True)
    assert {one.call for one in attempts.places} >= {"openat", "write", "syncfs"}
    assert kill_at_every(attempts, 9) > 3


def test_an_import_with_workers_that_is_killed_is_completed_by_the_next(
    new_sites: Sites, place: Path
) -> None:
    words: list[str | Path] = ["import", "--jobs", "2", new_sites.of_tiles(place)]
    attempts = Attempts(new_sites.inside, words, place)
    assert kill_at_every(attempts, 27) > 3


def test_a_killed_sync_is_completed_by_the_next(sites: Sites, place: Path) -> None:
    attempts = Attempts(sites.outside, sites.syncing(), place)
    assert kill_at_every(attempts, 13) > 4


def test_a_killed_export_leaves_a_whole_file_or_none(sites: Sites, place: Path) -> None:
    attempts = ExportAttempts(sites, place)
    assert "rename" in {one.call for one in attempts.places}
    assert kill_at_every(attempts, 7) > 4


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_killed_compressed_export_leaves_a_whole_file_or_none(
    sites: Sites, place: Path, name: str
) -> None:
    assert kill_at_every(ExportAttempts(sites, place, name), 17) > 1


def test_a_killed_export_in_volumes_leaves_whole_ones_that_the_next_completes(
    new_sites: Sites, place: Path
) -> None:
    attempts = ExportAttempts(new_sites, place, "stick.tar", *IN_VOLUMES)
    assert len(attempts.sticks) > 1
    assert kill_at_every(attempts, 41) > 1


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_killed_import_of_a_compressed_stick_is_completed_by_the_next(
    sites: Sites, place: Path, name: str
) -> None:
    stick = place / name
    succeed(copied(sites.ahead, place / "exporter"), *sites.exporting(stick))
    assert kill_at_every(Attempts(sites.inside, ["import", stick], place), 47) > 1


@pytest.mark.parametrize("step", ["move", "adopt"])
def test_a_killed_move_and_its_way_back_are_completed_by_the_next(place: Path, step: str) -> None:
    home, storage = place / "home", place / "storage"
    words: list[str | Path] = ["log", step, *(["--to"] if step == "move" else []), storage]
    program: list[str | Path] = ["--home", home, *words]

    def prepare() -> None:
        for directory in (home, storage):
            shutil.rmtree(directory, ignore_errors=True)
        make_home(home)  # anew: a copy of it may not sign
        log_bodies(home, [b"one", b"two", b"three"])
        if step == "adopt":
            succeed(home, "log", "move", "--to", storage)
            OtherServer(storage, load_signing_key(home, ORIGIN)).grow([b"four"])

    prepare()
    found = places(program, place / "trace")
    assert {one.call for one in found} >= {"rename", "fsync", "pwrite64"}
    met = 0
    for one in found[:: 1 if SOAK else 19]:
        prepare()
        finished = run_killed(program, one, place / "trace")
        if not finished.met(one):
            continue
        met += 1
        assert may_sign(home) + may_start(storage) <= 1, one
        succeed(home, *words)
        assert (may_sign(home), may_start(storage)) == (step == "adopt", step == "move"), one
    assert met > 1
    if step == "adopt":
        assert check_home(home) == (b"one", b"two", b"three", b"four")
