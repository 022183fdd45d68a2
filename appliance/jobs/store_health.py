"""Whether a home can be used: database, schema, blob directory, room (checkpoint-store test)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, StoreError
from appliance.jobs.findings import Finding, Outcome, finding, ok, warning
from appliance.jobs.journal import check_journal
from appliance.store.database import DATABASE_NAME, Store, has_hot_journal, open_store
from appliance.store.failures import CORRUPT, DISK_FULL, RESTORE
from appliance.store.filesystem import access_of, room_at
from appliance.store.integrity import foreign_key_problems, integrity_problems, schema_problems

MIN_FREE_BYTES: Final = 16 * 1024 * 1024  # below this no command can be sure to finish
LOW_FREE_BYTES: Final = 512 * 1024 * 1024
LOW_FREE_FILES: Final = 10_000

_Said = tuple[Outcome, str]


def store_findings(home: Path) -> Iterator[Finding]:
    """Check that the store of `home` opens, is whole and can be written to."""
    # Looked at first: whoever opens the database rolls such a journal back.
    yield finding("journal", partial(_journal, home))
    try:
        store = open_store(home, write=False)
    except ApplianceError as error:
        yield Finding("database", Outcome.FAILED, error.message, error)
        return
    try:
        yield finding("database", partial(_database, store))
        yield finding("schema", partial(_schema, store))
        yield finding("history", partial(_history, store))
        yield finding("blobs", partial(_blobs, store))
    finally:
        store.close()
    yield finding("room", partial(_room, home))


def _journal(home: Path) -> _Said:
    if not has_hot_journal(home):
        return ok("no run was killed in a transaction")
    return warning("a run was killed in a transaction; opening the store rolls it back")


def _database(store: Store) -> _Said:
    _refuse(store, integrity_problems(store) + foreign_key_problems(store))
    access = access_of(store.home / DATABASE_NAME)
    if access is not None and access.others_write:
        raise StoreError(
            f"{store.home / DATABASE_NAME} can be written to by others (mode {access.mode:04o})",
            reason="permissions",
            next_step=f"run: chmod 600 {store.home / DATABASE_NAME}; then restore a backup if"
            " others used this host",
        )
    return ok("opens, every page is whole")


def _schema(store: Store) -> _Said:
    if problems := schema_problems(store):
        raise StoreError(
            f"{store.home / DATABASE_NAME}: {'; '.join(sorted(problems))}",
            reason="schema-changed",
            next_step="run 'attestor checkpoint-store init --force'; it keeps every row",
        )
    return ok("is this version's")


def _history(store: Store) -> _Said:
    return ok(f"the journal is whole, {check_journal(store).head.id:,} lines")


def _blobs(store: Store) -> _Said:
    store.blobs.verify_writable()
    return ok("can be written to")


def _room(home: Path) -> _Said:
    room = room_at(home)
    free = f"{room.free_bytes:,} bytes free"
    files = "" if room.free_files is None else f", {room.free_files:,} files"
    if room.free_bytes < MIN_FREE_BYTES or room.free_files == 0:
        raise StoreError(
            f"{home}: {free}{files}",
            reason=DISK_FULL,
            next_step="free space; 'attestor store gc' and 'attestor tiles prune' may help",
        )
    few_files = room.free_files is not None and room.free_files < LOW_FREE_FILES
    if room.free_bytes < LOW_FREE_BYTES or few_files:
        return warning(free + files)
    return ok(free + files)


def _refuse(store: Store, problems: list[str]) -> None:
    if problems:
        raise StoreError(
            f"{store.home / DATABASE_NAME} is damaged: {'; '.join(problems)}",
            reason=CORRUPT,
            next_step=RESTORE,
        )
