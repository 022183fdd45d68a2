"""Copies of a home in use (store backup), and its schema made anew (init --force).

The latter is for a schema that somebody changed by hand. The new database is built beside the
old one and takes its name in one step: whenever we die, there is one of them, whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, StoreError
from appliance.store.blob_place import BLOBS_NAME
from appliance.store.blobs import Blobs
from appliance.store.database import DATABASE_NAME, Store, create_store, store_errors
from appliance.store.failures import CORRUPT, DISK_FULL, database_error, file_error, output_error
from appliance.store.filesystem import sync_filesystem
from appliance.store.home.integrity import foreign_key_problems
from appliance.store.home.key_files import KEYS_NAME
from appliance.store.references import NamedBlob
from appliance.store.schema import COUNTED_BY_TRIGGERS

# Copies of a home that is in use (store backup). What is copied is checked on the way.


RESERVE_BYTES: Final = 16 * 1024 * 1024  # that a copy leaves free on its filesystem
_TOGETHER: Final = 256  # blobs in memory at a time


@contextlib.contextmanager
def new_copy(target: Path, *, only: str = "") -> Iterator[Path]:
    """Yield an empty private directory that becomes `target` once it is complete and durable.

    With `only`, that one file of it becomes `target`. Raises StoreError if `target` exists
    (file-exists) or cannot be written. If we die in between, at most a directory ending in
    .tmp is left beside it.
    """
    building = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    if os.path.lexists(target):
        raise StoreError(
            f"{target} exists already",
            reason="file-exists",
            next_step="choose another name: a backup is never overwritten",
        )
    try:
        building.mkdir(mode=0o700)
        yield building
        sync_filesystem(building)
        (building / only).rename(target)
        # All of it is durable; its name is too, once this returns.
        sync_filesystem(target.parent)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def refuse_without_room(directory: Path, n_bytes: int) -> None:
    """Raise StoreError (disk-full) if `directory` has not got room for so much, and a reserve."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise output_error(directory / "attestor.db", error) from error
    if free < n_bytes + RESERVE_BYTES:
        raise StoreError(
            f"{directory} has {free:,} bytes free; the copy needs {n_bytes:,}, and"
            f" {RESERVE_BYTES:,} must stay free",
            reason=DISK_FULL,
            next_step="copy to a larger disk",
        )


def copy_database(store: Store, directory: Path) -> None:
    """Copy the database as it is at one instant, and read every page of the copy.

    Raises StoreError if it does not fit or is damaged (corrupt).
    """
    path = directory / DATABASE_NAME
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        copy = sqlite3.connect(path)
    except OSError as error:
        raise file_error(path, error) from error
    try:
        # In one step, so that a busy writer cannot make it start again for ever.
        store.connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    finally:
        copy.close()
    if found != "ok":
        raise StoreError(
            f"{store.home / DATABASE_NAME} is damaged: {found}",
            reason=CORRUPT,
            next_step="restore an older backup; keep the damaged file for its checkpoints",
        )


def copy_blobs(store: Store, named: Iterable[NamedBlob], directory: Path) -> Iterator[str | None]:
    """Copy blobs into a home at `directory`, yielding for each None or why it could not be read.

    Raises StoreError if they cannot be written.
    """
    copies = Blobs(directory / BLOBS_NAME / "sha256")
    try:
        copies.create()
    except OSError as error:
        raise file_error(directory, error) from error
    batch: list[bytes] = []
    for blob in named:
        if copies.file(blob.digest) is None:
            try:
                batch.append(store.blobs.get(blob.digest))
            except ApplianceError as error:
                yield f"{blob.name}: {error.message}"
                continue
        yield None
        if len(batch) == _TOGETHER:
            copies.put(batch)
            batch.clear()
    copies.put(batch)


def copy_keys(home: Path, directory: Path) -> list[str]:
    """Copy the private keys and the last-signed records into a home at `directory`.

    Returns their file names. Raises StoreError if one cannot be read or written.
    """
    source, target = home / KEYS_NAME, directory / KEYS_NAME
    names = []
    try:
        target.mkdir(mode=0o700)
        for path in sorted(source.iterdir()):
            if path.is_dir():
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                data = file.read()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(target / path.name, flags, 0o600), "wb") as file:
                file.write(data)
            names.append(path.name)
    except OSError as error:
        raise file_error(source, error) from error
    return names


_TABLES = (
    "SELECT name FROM {schema}.sqlite_schema WHERE type = 'table'"
    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_%' ESCAPE '\\'"
)


def recreate_schema(store: Store, backup: Path) -> dict[str, int]:
    """Give the store a fresh schema with all its rows; returns how many, by table.

    Saves the database as `backup` first, and closes `store`. The caller holds the home's
    lock. Raises StoreError, changing nothing, if the database is damaged, `backup` exists,
    or a row does not fit into the schema.
    """
    with new_copy(backup, only=DATABASE_NAME) as building:
        copy_database(store, building)
    home = store.home
    store.close()
    with store_errors(home), new_copy(home / f"{DATABASE_NAME}.new", only=DATABASE_NAME) as place:
        new = create_store(place)
        try:
            carried = _carry_rows(new, backup)
        finally:
            new.close()
    with store_errors(home):
        # The old database was closed by us, and cleanly: no journal of it is left that
        # SQLite could roll back into the new one. Whoever reads the old one still can.
        os.replace(home / f"{DATABASE_NAME}.new", home / DATABASE_NAME)  # noqa: PTH105 atomic
        sync_filesystem(home)
    return carried


def _carry_rows(new: Store, old: Path) -> dict[str, int]:
    """Copy every row of the database file `old`; returns how many, by table."""
    new.execute("PRAGMA foreign_keys = OFF")  # rows come table by table; checked at the end
    new.execute("ATTACH DATABASE ? AS old", [str(old)])
    there = {row["name"] for row in new.rows(_TABLES.format(schema="old"))}
    carried = {}
    with new.atomic():
        for row in new.rows(_TABLES.format(schema="main")):
            table = row["name"]
            if table in there and table not in COUNTED_BY_TRIGGERS:
                columns = ", ".join(
                    sorted(_columns(new, "main", table) & _columns(new, "old", table))
                )
                new.execute(f"DELETE FROM main.{table}")  # noqa: S608 what a migration put there
                copied = new.execute(
                    f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM old.{table}"  # noqa: S608 names from the schema
                )
                carried[table] = copied.rowcount
        if problems := foreign_key_problems(new):
            raise StoreError(
                f"{old}: {'; '.join(problems)}",
                reason=CORRUPT,
                next_step="nothing was changed; restore a backup made with 'attestor store backup'",
            )
    new.execute("DETACH DATABASE old")
    return carried


def _columns(store: Store, schema: str, table: str) -> set[str]:
    rows = store.rows(f"PRAGMA {schema}.table_info({table})")
    return {row["name"] for row in rows}
