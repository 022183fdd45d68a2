"""What failures of SQLite and of files mean: words for --json, and which pass by themselves."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, IncompleteError, LockedError, StoreError

DISK_FULL: Final = "disk-full"
READ_ONLY: Final = "read-only"
CORRUPT: Final = "corrupt"
RESTORE: Final = "restore a backup made with 'attestor store backup'"

_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
TOO_LARGE: Final = "file-too-large"
_FILE_REASONS: Final = {
    **dict.fromkeys(_FULL_ERRNOS, DISK_FULL),
    errno.EFBIG: TOO_LARGE,
    errno.EROFS: READ_ONLY,
    errno.EACCES: "permissions",
    errno.EPERM: "permissions",
}
_SQLITE_REASONS: Final = {
    sqlite3.SQLITE_FULL: DISK_FULL,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_CORRUPT: CORRUPT,
    sqlite3.SQLITE_NOTADB: CORRUPT,
    sqlite3.SQLITE_BUSY: "busy",
}
_NEXT_STEPS: Final = {
    DISK_FULL: "free space, then run the command again; nothing was lost",
    TOO_LARGE: "its filesystem or a limit (ulimit -f) takes no larger file; export takes"
    " --volume-size 3900M",
    READ_ONLY: "run it as the owner of the home, on a filesystem mounted for writing",
    CORRUPT: RESTORE,
    "permissions": "run it as the owner of the home",
    "busy": "another program is writing to the database; run the command again",
    "database": "run 'attestor doctor'; if it is damaged, restore a 'store backup'",
}


def unknown(what: str, name: object, group: str) -> IncompleteError:
    """Return the error for what was named and is not here: `attestor GROUP list` has them all."""
    return IncompleteError(
        f"there is no {what} {name}",
        reason=f"unknown-{what}",
        next_step=f"see 'attestor {group} list'",
    )


def file_error(path: Path, error: OSError) -> StoreError:
    """Make the StoreError for a failed file operation; `path` is named if `error` names none."""
    reason = _FILE_REASONS.get(error.errno or 0, "file")
    named = error.filename or path
    return StoreError(
        f"{named}: {error.strerror}", reason=reason, next_step=_NEXT_STEPS.get(reason, "")
    )


def output_error(path: Path, error: OSError) -> ApplianceError:
    """Make the error for an output that could not be written at `path`.

    IncompleteError if the directory it was to be in is not there, else as file_error.
    """
    if error.errno == errno.ENOENT and not path.parent.exists():
        return IncompleteError(
            f"the directory {path.parent} is not there",
            reason="no-directory",
            next_step=f"look whether its medium is mounted; else make it: mkdir -p {path.parent}",
        )
    return file_error(path, error)


def database_error(path: Path, error: sqlite3.Error) -> StoreError:
    """Make the StoreError for what SQLite said about the database at `path`."""
    reason = _SQLITE_REASONS.get(_primary_code(error), "database")
    return StoreError(f"{path}: {error}", reason=reason, next_step=_NEXT_STEPS[reason])


def is_passing(error: Exception) -> bool:
    """Whether the same may be tried again by this process.

    A full disk and a busy home pass. A disk that fails does not: what it said was durable
    may not be, and only a new start reads it back.
    """
    cause = error.__cause__
    if isinstance(error, StoreError) and isinstance(cause, sqlite3.Error):
        return _primary_code(cause) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)
    if isinstance(error, StoreError) and isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, LockedError)


def _primary_code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
