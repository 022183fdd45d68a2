"""The one clock of a run: the system's, but never below the newest time that is proven to be past.

A clock that was set back makes nothing young again, and no time that is stored grows
smaller. Where the system's clock is below that floor, nobody knows how old anything is: what
depends on an age is refused with what require_known raises.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from appliance.errors import ApplianceError, IncompleteError
from appliance.times import CLOCKS_AGREE_SECONDS, age_text, utc

if TYPE_CHECKING:  # every run has a clock, and a help text needs no store
    from appliance.store.database import Store
    from appliance.store.home.clock import Floor

NEXT_STEP: Final = (
    "set the clock; if it was ahead before and is right now: attestor doctor --reset-clock REASON"
)


class RunClock:
    """Tells the time of one run. The floor is read once, when somebody first asks."""

    def __init__(self, home: Path, system: Callable[[], int]) -> None:
        self.system = system  # Unix seconds
        self._home = home
        self._floor: Floor | None = None
        self._is_read = False
        self._floor_since = 0  # Unix seconds of the system's clock when it became the floor

    def __call__(self) -> int:
        """Return the time, Unix seconds; it passes below the floor, too, so every wait ends."""
        floor, now = self.floor, self.system()
        if floor is None or now >= floor.at:
            return now
        return floor.at + max(0, now - self._floor_since)

    @property
    def floor(self) -> Floor | None:
        """The newest time that is proven to be past; None: nothing proves any."""
        if not self._is_read:
            self._is_read = True
            from appliance.store.database import open_store

            try:
                store = open_store(self._home, write=False)
            except ApplianceError:  # whoever needs the store will say why it is not there
                return None
            try:
                self._read(store)
            finally:
                store.close()
        return self._floor

    def read(self, store: Store) -> None:
        """Take the floor from a store that the run has open, unless it is known already."""
        if not self._is_read:
            self._is_read = True
            self._read(store)

    def _read(self, store: Store) -> None:
        from appliance.store.home.clock import clock_floor

        self._floor_since = self.system()
        try:
            self._floor = clock_floor(store)
        except ApplianceError:  # whoever reads the damaged rows will say so
            self._floor = None

    def proven(self, floor: Floor) -> None:
        """Take note of a time that this run itself found proven to be past."""
        if self.floor is None or floor.at > self.floor.at:
            self._floor, self._floor_since = floor, self.system()

    @property
    def behind(self) -> str | None:
        """How far the system's clock is below the floor, in words; None: it is not."""
        floor, now = self.floor, self.system()
        if floor is None or floor.at - now <= CLOCKS_AGREE_SECONDS:
            return None
        return (
            f"the clock of this host says {utc(now)}, {age_text(floor.at - now)} before"
            f" {floor.source} at {utc(floor.at)}: no age can be told"
        )

    def require_known(self) -> None:
        """Raise IncompleteError if nobody can tell how old anything is."""
        if self.behind is not None:
            raise IncompleteError(self.behind, reason="clock", next_step=NEXT_STEP)
