"""How many entries a log takes in any 60 minutes: a window that slides, so that no full hour
lets twice as many through.

Seconds are the finest it counts in. What was logged before this process began counts as well:
the log's own history says when.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

WINDOW_SECONDS: Final = 3600


class WriteBudget:
    """The budget of one log; any thread may ask."""

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float],  # seconds, never back
        spent: Iterable[tuple[float, int]] = (),  # seconds ago, oldest first, and how many entries
    ) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        now = clock()
        self._slots: deque[tuple[int, int]] = deque(
            (math.floor(now - ago), entries) for ago, entries in spent if ago < WINDOW_SECONDS
        )
        self._taken = sum(entries for _, entries in self._slots)

    def take(self) -> int:
        """Take a slot for one entry; return 0, or after how many seconds to ask again."""
        with self._lock:
            second = math.floor(self._clock())
            while self._slots and self._slots[0][0] <= second - WINDOW_SECONDS:
                self._taken -= self._slots.popleft()[1]
            if self._taken >= self.limit:
                return max(1, self._slots[0][0] + WINDOW_SECONDS - second)
            if self._slots and self._slots[-1][0] == second:
                self._slots[-1] = (second, self._slots[-1][1] + 1)
            else:
                self._slots.append((second, 1))
            self._taken += 1
            return 0

    def give_back(self) -> None:
        """Give back the slot taken last: nothing was logged for it."""
        with self._lock:
            if self._slots:
                second, entries = self._slots.pop()
                self._taken -= 1
                if entries > 1:
                    self._slots.append((second, entries - 1))
