"""Requests as they are counted, until they are written down together."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

NO_LOG: Final = "-"  # no log has this name

Counts = Counter[tuple[str, int]]  # by log and status


class RequestCounts:
    """Counts of this process that are not in the store yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counts = Counter()

    def add(self, log: str, status: int) -> None:
        """Count one request; "" is none of our logs."""
        with self._lock:
            self._counts[log or NO_LOG, status] += 1

    def take(self) -> Counts:
        """Return what was counted since the last time."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
            return taken

    def put_back(self, counts: Counts) -> None:
        """Count again what could not be written down."""
        with self._lock:
            self._counts.update(counts)
