"""Re-create the schema of a store, carrying every row over (checkpoint-store init --force).

For a schema that somebody changed by hand. The new database is built beside the old one
and takes its name in one step: whenever we die, there is one of them, whole.
"""

from __future__ import annotations

import os
from pathlib import Path

from appliance.errors import StoreError
from appliance.store.backup import copy_database, new_copy
from appliance.store.database import DATABASE_NAME, Store, create_store, store_errors
from appliance.store.failures import CORRUPT
from appliance.store.flushing import sync_filesystem
from appliance.store.integrity import foreign_key_problems

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
            if table in there:
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
