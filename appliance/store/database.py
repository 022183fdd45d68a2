"""Opening the one SQLite file, and transactions on it (DESIGN.md, The store).

Rollback journal, synchronous=FULL, BEGIN IMMEDIATE. Readers never lock and never wait
for us longer than a commit takes; a reader can do with a read-only file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from appliance.errors import StoreError
from appliance.store.blob_place import BLOBS_NAME, verify_blob_place
from appliance.store.blobs import Blobs
from appliance.store.failures import CORRUPT, RESTORE, database_error, file_error
from appliance.store.filesystem import home_is_ours, refuse_foreign_home, refuse_open_home
from appliance.store.passphrases import NO_PASSPHRASES, Passphrases
from appliance.store.schema import MIGRATION_SET, MIGRATIONS

DATABASE_NAME: Final = "attestor.db"
BUSY_TIMEOUT_SECONDS: Final = 10.0
APPLICATION_ID: Final = 0x41545354  # "ATST", what file(1) and we look for


class Store:
    """An open home: the database connection and the blobs beside it."""

    def __init__(self, home: Path, connection: sqlite3.Connection) -> None:
        self.home = home
        self.passphrases: Passphrases = NO_PASSPHRASES  # of its encrypted keys; a run names them
        self.connection = connection
        self.blobs = Blobs(home / BLOBS_NAME / "sha256")
        # What was read once and holds while this store is open: the verified configuration.
        # Whoever changes what it was made of says so by forget().
        self.remembered: dict[str, Any] = {}

    def forget(self) -> None:
        """Let everything that was remembered be read again."""
        self.remembered.clear()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run a query and return its rows."""
        with store_errors(self.home):
            return self._run(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Run a query and return its first row, if any."""
        with store_errors(self.home):
            found: sqlite3.Row | None = self._run(sql, parameters).fetchone()
        return found

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with store_errors(self.home):
            return self._run(sql, parameters)

    def _run(self, sql: str, parameters: Sequence[Any]) -> sqlite3.Cursor:
        try:
            return self.connection.execute(sql, parameters)
        except UnicodeEncodeError:  # a file's name need not be UTF-8, what SQLite keeps must
            return self.connection.execute(sql, [_in_utf8(parameter) for parameter in parameters])

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row of parameters."""
        with store_errors(self.home):
            self.connection.executemany(sql, rows)

    @contextlib.contextmanager
    def atomic(self, *, dry_run: bool = False) -> Iterator[None]:
        """Do everything inside or nothing of it. Durable when this returns.

        With `dry_run` it is nothing of it, after all was tried.
        """
        with store_errors(self.home):
            self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.rollback()
            self.forget()
            raise
        with store_errors(self.home):
            try:
                self.connection.execute("ROLLBACK" if dry_run else "COMMIT")
                if dry_run:
                    self.forget()
            except sqlite3.Error:
                self.connection.rollback()
                raise

    def close(self) -> None:
        """Close the connection. Nothing is flushed: whatever committed is durable already."""
        self.connection.close()


def _in_utf8(value: Any) -> Any:
    """Write the bytes of a file name that are no text as escapes."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "backslashreplace").decode()


@contextlib.contextmanager
def store_errors(home: Path) -> Iterator[None]:
    """Turn what SQLite and the filesystem say into StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise database_error(home / DATABASE_NAME, error) from error
    except UnicodeDecodeError as error:  # not from SQLite: its text or message is damaged
        path = home / DATABASE_NAME
        raise StoreError(
            f"{path} is damaged: {error}", reason=CORRUPT, next_step=RESTORE
        ) from error
    except OSError as error:
        raise file_error(home, error) from error


def open_store(home: Path, *, write: bool, busy_seconds: float = BUSY_TIMEOUT_SECONDS) -> Store:
    """Open the store of `home`, for reading only unless `write`.

    Raises StoreError if there is none, others could have written to it, it is damaged, or
    its schema is older than this program's (reason schema-older: run init once) or newer
    (schema-newer).
    """
    with store_errors(home):
        path = require_database(home)
        refuse_open_home(home)
        if write:
            refuse_foreign_home(home)
        verify_blob_place(home)
        unclean = has_hot_journal(home) and home_is_ours(home)
    if path.stat().st_size == 0:
        raise _emptied(path)
    # A read-only connection cannot roll back what a killed writer left; then open for
    # writing if we may, and promise not to.
    mode = "rw" if write or (unclean and os.access(path, os.W_OK)) else "ro"
    store = Store(home, _connect(path, mode, busy_seconds))
    try:
        with store_errors(home):
            _set_pragmas(store.connection, write=write)
            if unclean and store.rows("PRAGMA quick_check(1)")[0][0] != "ok":
                raise StoreError(f"{path} is damaged", reason=CORRUPT, next_step=RESTORE)
            _check_schema(store, path)
    except BaseException:
        store.close()
        raise
    return store


def require_database(home: Path) -> Path:
    """Return where the database of `home` is; raises StoreError if it is not.

    Reason no-store; database-lost if the home has what only a database gives a meaning.
    """
    path = home / DATABASE_NAME
    if not path.is_file():
        if kept := _what_is_kept(home):
            raise _lost(home, kept)
        raise StoreError(
            f"no store at {path}",
            reason="no-store",
            next_step=f"create one with 'attestor --home {home} init --site NAME'",
        )
    return path


def create_home(home: Path) -> None:
    """Make the directories of a home, so that it can be locked; again does nothing."""
    with store_errors(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_open_home(home)
        refuse_foreign_home(home)
        (home / "keys").mkdir(mode=0o700, exist_ok=True)


def create_store(home: Path) -> Store:
    """Create the store of `home`, or bring an older one up to date, and open it for writing.

    A crash in between leaves a home that the next call completes. Raises StoreError as
    open_store does.
    """
    from sqlite_utils import Database

    from appliance.store.schema import migrations

    create_home(home)
    verify_blob_place(home)
    path = home / DATABASE_NAME
    if not (path.exists() and path.stat().st_size) and (kept := _what_is_kept(home)):
        raise _lost(home, kept)
    with store_errors(home):
        # SQLite would create it world-readable; the journal inherits this mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        store = Store(home, _connect(path, "rw"))
    try:
        with store_errors(home):
            _set_pragmas(store.connection, write=True)
            _applied(store, path)  # before anything is changed
            store.blobs.create()
            migrations().apply(Database(store.connection))
            store.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _check_schema(store, path)
    except BaseException:
        store.close()
        raise
    return store


def _what_is_kept(home: Path) -> str:
    """Name what a home holds that only a database gives a meaning; empty: nothing."""
    if any((home / "keys").glob("*")):
        return "keys"
    blobs = home / "blobs" / "sha256"
    return "blobs" if any(blobs.glob("*/*")) else ""


def _lost(home: Path, kept: str) -> StoreError:
    return StoreError(
        f"{home} has no tables, but {kept} of a home that had: its database was lost",
        reason="database-lost",
        next_step=f"{RESTORE}; to begin anew, move {home} away first",
    )


def _emptied(path: Path) -> StoreError:
    """What to say of a database without a byte: init makes the file whole or fails."""
    if _what_is_kept(path.parent):
        return StoreError(
            f"{path} is empty (0 bytes): it was emptied, or never written to the disk",
            reason=CORRUPT,
            next_step=RESTORE,
        )
    return StoreError(
        f"{path} is empty (0 bytes): init was interrupted",
        reason="no-store",
        next_step=f"run: attestor --home {path.parent} init --site NAME",
    )


def _connect(
    path: Path, mode: str, busy_seconds: float = BUSY_TIMEOUT_SECONDS
) -> sqlite3.Connection:
    # as_uri quotes what must be quoted in a file: URI
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    with store_errors(path.parent):
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_seconds)
    connection.row_factory = sqlite3.Row
    return connection


def _set_pragmas(connection: sqlite3.Connection, *, write: bool) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA foreign_keys = ON")
    if write:
        # Not WAL: SIGBUS on a full filesystem, no read-only readers.
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
    else:
        connection.execute("PRAGMA query_only = ON")


def has_hot_journal(home: Path) -> bool:
    """Whether a run was killed inside a transaction that nobody has rolled back yet."""
    try:
        return (home / f"{DATABASE_NAME}-journal").stat().st_size > 0
    except OSError:
        return False


def _applied(store: Store, path: Path) -> set[str]:
    """Return our migrations that were applied; raises StoreError for a schema we cannot use."""
    names = {row["name"] for row in store.rows("SELECT name FROM sqlite_schema")}
    applied = set()
    if "_sqlite_migrations" in names:
        sql = "SELECT name FROM _sqlite_migrations WHERE migration_set = ?"
        applied = {row["name"] for row in store.rows(sql, [MIGRATION_SET])}
    elif names:
        raise StoreError(f"{path} is another program's database", reason="not-ours")
    if newer := applied.difference(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer attestor (it has {', '.join(sorted(newer))})",
            reason="schema-newer",
            next_step="install the newer version here",
        )
    return applied


def _check_schema(store: Store, path: Path) -> None:
    if set(MIGRATIONS) - _applied(store, path):
        raise StoreError(
            f"{path} has an older schema",
            reason="schema-older",
            next_step="run 'attestor init' once to bring it up to date; nothing is lost",
        )


def migrates_itself(home: Path) -> bool:
    """Whether a writer may bring an older schema up to date (autoInitializeSchema)."""
    path = require_database(home)
    store = Store(home, _connect(path, "ro"))
    try:
        row = store.row(
            "SELECT value FROM setting WHERE key = 'checkpointStore.autoInitializeSchema'"
        )
    finally:
        store.close()
    return row is None or row["value"] != "false"
