"""One command, tried in one home again and again, with a fault at one place after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.faults.sites import Sites, copied, succeed
from tests.faults.states import leftovers, state_of, verify_between, verify_home
from tests.faults.strace import Finished, Place, places

SOAK: Final = bool(os.environ.get("ATTESTOR_SOAK"))  # every place, not every few
COMPRESSED: Final = ("stick.tar.zst", "stick.tar.gz")
IN_VOLUMES: Final = ("--volume-size", "48K")


class Attempts:
    """A command, the places where it changes files, and what a home is before and after."""

    def __init__(
        self,
        start: Path,
        arguments: Sequence[str | Path],
        directory: Path,
        *,
        of_workers: bool = False,
    ) -> None:
        self.start = start  # the home as it is before
        self.arguments = arguments
        self.directory = directory
        self.home = directory / "home"
        self.trace = directory / "trace"
        self.program = ["--home", self.home, *arguments]
        self.of_workers = of_workers  # places of the processes that hash, instead of ours
        self.reset()
        self.places = places(self.program, self.trace, of_workers=of_workers)
        self.before, self.after = state_of(start), state_of(self.home)

    def reset(self) -> None:
        """Make everything as it was before."""
        copied(self.start, self.home)

    def verify_what_is_left(self) -> None:
        """Check that nothing was lost and nothing wrong was added."""
        # Whoever looks may be the one who rolls back: look at a copy.
        look = copied(self.home, self.directory / "look")
        verify_between(state_of(look), self.before, self.after)
        verify_home(look)

    def recover(self) -> None:
        """Run it again, as a timer would, and find everything as if nothing had happened."""
        succeed(self.home, *self.arguments)
        assert state_of(self.home) == self.after
        verify_home(self.home)
        assert leftovers(self.home) == []

    def is_courtesy(self, place: Place) -> bool:
        """Whether a run may go on where this fails.

        That is: writing who holds the lock, making a directory that is there, writing
        nothing. And SQLite's flush of the directory that the journal is in, whose outcome it
        never looks at; the journal is truncated, not deleted, so only its first needed that.
        And all statistics, which are written when the answer is known; printing it is none.
        """
        if place.is_afterwards and place.call != "write":
            return True
        lock = f"<{self.home / 'lock'}>" in place.line and place.call != "openat"
        directory = place.call == "fdatasync" and f"<{self.home}>" in place.line
        return lock or directory or place.call == "mkdir" or ', "", 0)' in place.line

    def at_every(self, step: int, run: Callable[[Place], Finished | None]) -> int:
        """Let `run` try a place, look at what it left, and run the command again.

        At every `step`-th place, or at all if this is a soak; returns at how many. `run`
        checks how the run ended and returns None if the fault was never met.
        """
        wrong = []
        chosen = self.places[:: 1 if SOAK else step]
        met = 0
        for place in chosen:
            self.reset()
            try:
                if run(place) is None:
                    continue
                met += 1
                self.verify_what_is_left()
                self.recover()
            except AssertionError as error:
                wrong.append(f"{place}\n    {error}")
        assert not wrong, "\n".join(wrong)
        # Threads may change who imports what first, so that an openat is not met again: a
        # tenth may be missing, and of a few places, a single one.
        missing = len(chosen) - met
        assert missing <= max(1, len(chosen) // 10), f"{missing} of {len(chosen)} not met again"
        return met


class SyncAttempts(Attempts):
    """A sync: what it counts, in its last transaction, is no part of mirroring."""

    def is_courtesy(self, place: Place) -> bool:
        """Whether a run may go on where this fails: statistics as well."""
        working = [one for one in self.places if not one.is_afterwards]
        ends = [
            at
            for at, one in enumerate(working)
            if one.call == "ftruncate" and "-journal>" in one.line  # a transaction is over
        ]
        return super().is_courtesy(place) or place in working[ends[-2] + 1 :]


class ExportAttempts(Attempts):
    """An export: each file is there whole, or not at all."""

    def __init__(
        self, sites: Sites, directory: Path, name: str = "stick.tar", *options: str
    ) -> None:
        self.medium = directory / "medium"
        self.medium.mkdir()
        self.inside = sites.inside
        arguments = [*sites.exporting(self.medium / name), *options]
        super().__init__(sites.ahead, arguments, directory)
        self.sticks = self.written()  # by the run that was traced

    def reset(self) -> None:
        """Make everything as it was before."""
        super().reset()
        for file in self.medium.iterdir():
            file.unlink()

    def written(self) -> list[Path]:
        """List what is on the medium."""
        return sorted(self.medium.iterdir())

    def recover(self) -> None:
        """Run it again; what a killed run had finished stays as it is."""
        finished = {stick: stick.read_bytes() for stick in self.sticks if stick.exists()}
        super().recover()
        assert self.written() == self.sticks
        for stick, data in finished.items():
            assert stick.read_bytes() == data, stick
        far_side = copied(self.inside, self.directory / "far")
        succeed(far_side, "import", *self.sticks)
