"""Each failure has its word, says what to do, and passes by itself or not."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from appliance.errors import LockedError, StoreError
from appliance.store.failures import database_error, file_error, is_passing

PATH = Path("/home/attestor.db")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EFBIG, "file-too-large"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permissions"),
        (errno.EIO, "file"),
    ],
)
def test_a_file_error_names_the_file_and_has_its_word(number: int, reason: str) -> None:
    error = file_error(PATH, OSError(number, "said the kernel"))
    assert (error.reason, error.message) == (reason, f"{PATH}: said the kernel")
    named = file_error(PATH, OSError(number, "said", "/other"))
    assert named.message == "/other: said"


@pytest.mark.parametrize(
    ("code", "reason", "passing"),
    [
        (sqlite3.SQLITE_FULL, "disk-full", True),
        (sqlite3.SQLITE_BUSY, "busy", True),
        (sqlite3.SQLITE_BUSY | 2 << 8, "busy", True),  # an extended code
        (sqlite3.SQLITE_READONLY, "read-only", False),
        (sqlite3.SQLITE_CORRUPT, "corrupt", False),
        (sqlite3.SQLITE_NOTADB, "corrupt", False),
        (sqlite3.SQLITE_IOERR, "database", False),
    ],
)
def test_a_database_error_has_its_word(code: int, reason: str, passing: bool) -> None:
    cause = sqlite3.OperationalError("said SQLite")
    cause.sqlite_errorcode = code
    error = database_error(PATH, cause)
    assert (error.reason, error.message) == (reason, f"{PATH}: said SQLite")
    assert error.next_step
    error.__cause__ = cause
    assert is_passing(error) is passing


def test_a_full_disk_and_a_busy_home_pass_a_failing_disk_does_not() -> None:
    for number, passing in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)):
        error = file_error(PATH, OSError(number, "x"))
        error.__cause__ = OSError(number, "x")
        assert is_passing(error) is passing
    assert is_passing(LockedError("x"))
    assert not is_passing(StoreError("x"))
    assert not is_passing(KeyError("x"))
