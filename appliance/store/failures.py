"""Which failures of the store pass by themselves, for those who run on: a server, a queue."""

from __future__ import annotations

import errno
import sqlite3

from appliance.errors import LockedError, StoreError


def is_passing(error: Exception) -> bool:
    """Whether the same may be tried again by this process.

    A full disk and a busy home pass. A disk that fails does not: what it said was durable
    may not be, and only a new start reads it back.
    """
    cause = error.__cause__
    if isinstance(error, StoreError) and isinstance(cause, sqlite3.Error):
        primary = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        return primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)
    if isinstance(error, StoreError) and isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, LockedError)
