"""Each system call that changes a file fails in turn: a full disk, or a broken one.

Expected: one line that says so, code 6, a home that is as before or further on, and a next
run that needs no operator.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.attempts import (
    COMPRESSED,
    IN_VOLUMES,
    SOAK,
    Attempts,
    ExportAttempts,
    SyncAttempts,
)
from tests.faults.sites import Sites
from tests.faults.states import opened, state_of, verify_home
from tests.faults.strace import Finished, Place, require_strace, run_failing

pytestmark = pytest.mark.slow

ERRORS: Final = ("ENOSPC", "EIO") if not SOAK else ("ENOSPC", "EIO", "EDQUOT")
# Without these nothing can be read any more or said.
ONCE_ONLY: Final = frozenset({"write", "openat"})


@pytest.fixture(autouse=True)
def _strace() -> None:
    require_strace()


def fail_at_every(attempts: Attempts, step: int) -> int:
    """Fail each place with one of the errors after the other, once or from then on."""
    ways = [(error, ever_after) for ever_after in (False, True) for error in ERRORS]
    met = 0
    for rounds in range(len(ways) if SOAK else 1):
        way = cycle(ways[rounds:] + ways[:rounds])

        def run(place: Place, way: cycle[tuple[str, bool]] = way) -> Finished | None:
            error, ever_after = next(way)
            finished = run_failing(
                attempts.program,
                place,
                error,
                attempts.trace,
                ever_after=ever_after and place.call not in ONCE_ONLY,
                of_workers=attempts.of_workers,
            )
            if not finished.met(place):
                return None
            if finished.code or not attempts.is_courtesy(place):
                verify_says_so(finished)
            return finished

        met += attempts.at_every(step, run)
    return met


def verify_says_so(finished: Finished) -> None:
    """Check that the run said what was wrong, in one line."""
    assert finished.code == 6, finished
    assert finished.err.startswith("Error: ") and finished.err.count("\n") == 1, finished.err


def test_an_import_says_what_failed_and_the_next_completes_it(sites: Sites, place: Path) -> None:
    assert fail_at_every(Attempts(sites.inside, ["import", sites.stick], place), 7) > 12


def test_an_import_flushed_in_one_says_what_failed(new_sites: Sites, place: Path) -> None:
    assert fail_at_every(Attempts(new_sites.inside, ["import", new_sites.stick], place), 37) > 4


def test_an_import_whose_workers_fail_does_their_work_itself(new_sites: Sites, place: Path) -> None:
    words: list[str | Path] = ["import", "--jobs", "2", new_sites.of_tiles(place)]
    attempts = WorkerAttempts(new_sites.inside, words, place, of_workers=True)
    assert "syncfs" in {one.call for one in attempts.places}
    assert fail_at_every(attempts, 9) > 3


class WorkerAttempts(Attempts):
    """An import whose processes that hash are struck, and nobody else."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # No disk is full for a pipe.
        self.places = [one for one in self.places if "<pipe:" not in one.line]

    def is_courtesy(self, place: Place) -> bool:
        """Whether a run may go on: what a worker could not do is done again by us."""
        return True

    def verify_what_is_left(self) -> None:
        """Check that nothing is missing, though something failed."""
        assert state_of(self.home) == self.after
        verify_home(self.home)


def test_a_sync_says_what_failed_and_the_next_completes_it(sites: Sites, place: Path) -> None:
    assert fail_at_every(SyncAttempts(sites.outside, sites.syncing(), place), 13) > 4


def test_an_export_says_what_failed_and_leaves_no_file(sites: Sites, place: Path) -> None:
    attempts = FailedExportAttempts(sites, place)
    assert fail_at_every(attempts, 7) > 3


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_export_says_what_failed_and_leaves_no_file(
    sites: Sites, place: Path, name: str
) -> None:
    assert fail_at_every(FailedExportAttempts(sites, place, name), 23) > 1


def test_an_export_in_volumes_says_what_failed_and_leaves_none_unfinished(
    new_sites: Sites, place: Path
) -> None:
    attempts = FailedExportAttempts(new_sites, place, "stick.tar", *IN_VOLUMES)
    assert len(attempts.sticks) > 1
    assert fail_at_every(attempts, 47) > 1


class FailedExportAttempts(ExportAttempts):
    """An export that said that it failed: its files must not look as if it had not."""

    def verify_what_is_left(self) -> None:
        """Check that a file is there only if the home says that it left.

        The other way round it may be: where the last flush of a commit fails, what SQLite
        calls an error has taken effect. That is one more stick that got lost.
        """
        super().verify_what_is_left()
        with opened(self.home, write=False) as store:
            left = store.rows("SELECT file_name FROM transfer WHERE direction = 'export'")
        assert {path.name for path in self.written()} <= {row["file_name"] for row in left}


@pytest.mark.parametrize("call", ["ftruncate", "pwrite64"])
def test_who_frees_space_on_a_full_disk_gets_the_lock(sites: Sites, place: Path, call: str) -> None:
    attempts = Attempts(sites.inside, ["store", "gc"], place)
    [lock] = [one for one in attempts.places if one.call == call and attempts.is_courtesy(one)]
    finished = run_failing(attempts.program, lock, "ENOSPC", attempts.trace, ever_after=False)
    assert finished.met(lock) and finished.code == 0, finished
