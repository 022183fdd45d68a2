"""A file that lines are appended to, and that another program may rename away."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from appliance.errors import StoreError

_MODE = 0o640  # a group may be given to whoever reads it


class LineFile:
    """Appends whole lines, from any thread. What cannot be written is told once, and left out."""

    def __init__(self, path: Path | None, on_failure: Callable[[str], None]) -> None:
        """Open the file, None for stderr; raises StoreError if it cannot be."""
        self._path = path
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._failed = False
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise StoreError(
                f"{path}: {error.strerror}",
                reason="access-log",
                next_step="make its directory, ours to write to, or set privateLog.accessLog",
            ) from error

    def write(self, line: bytes) -> None:
        """Append a line in one call, so that two processes do not write into each other's."""
        with self._lock:
            try:
                whole = os.write(self._descriptor, line) == len(line)
                reason = "" if whole else "no room for a whole line"
            except OSError as error:
                reason = error.strerror or str(error)
            if reason and not self._failed:
                self._on_failure(f"{self._path or 'standard error'}: {reason}; requests go on")
            self._failed = bool(reason)

    def reopen(self) -> None:
        """Go on in a new file of the same name; in the old one if that cannot be."""
        if self._path is None:
            return
        with self._lock:
            try:
                new = self._open()
            except OSError as error:
                self._on_failure(f"{self._path}: {error.strerror}; the old file is written on")
                return
            old, self._descriptor = self._descriptor, new
            os.close(old)

    def close(self) -> None:
        """Close the file."""
        with self._lock, contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _open(self) -> int:
        if self._path is None:
            return os.dup(2)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(self._path, flags, _MODE)
