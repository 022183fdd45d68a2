"""Copies of a home that is in use (store backup). What is copied is checked on the way.

A copy with blobs or keys is a directory laid out as a home: copying it to where a home
belongs restores it. The database alone is one file.
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
from appliance.store.blobs import Blobs
from appliance.store.database import BLOBS_NAME, DATABASE_NAME, Store
from appliance.store.failures import CORRUPT, DISK_FULL, database_error, file_error
from appliance.store.flushing import sync_filesystem
from appliance.store.key_files import KEYS_NAME
from appliance.store.references import NamedBlob

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
        raise file_error(target, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def refuse_without_room(directory: Path, n_bytes: int) -> None:
    """Raise StoreError (disk-full) if `directory` has not got room for so much, and a reserve."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise file_error(directory, error) from error
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
