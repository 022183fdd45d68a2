"""Whether the database itself is sound: pages, references, schema (store check, doctor)."""

from __future__ import annotations

import sqlite3
from typing import Final

from appliance.errors import StoreError
from appliance.store.database import Store
from appliance.store.failures import CORRUPT
from appliance.store.schema import migrations

MAX_NAMED: Final = 100  # problems that one check names
# Not the tables of SQLite and of the library that applies migrations.
_OBJECTS: Final = (
    "SELECT type || ' ' || name AS what, sql FROM sqlite_schema"
    " WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_%' ESCAPE '\\'"
)


def sqlite_version() -> str:
    """Return the version of the SQLite library in use."""
    return sqlite3.sqlite_version


def integrity_problems(store: Store) -> list[str]:
    """Read every page of the database and name what is wrong, at most MAX_NAMED things."""
    try:
        found = [row[0] for row in store.rows(f"PRAGMA integrity_check({MAX_NAMED})")]
    except StoreError as error:
        if error.reason != CORRUPT:
            raise
        return [error.message]
    return [] if found == ["ok"] else found


def foreign_key_problems(store: Store) -> list[str]:
    """Name rows that refer to rows that are not there, at most MAX_NAMED."""
    rows = store.rows("PRAGMA foreign_key_check")
    return [f"a row of {row['table']} names no {row['parent']}" for row in rows[:MAX_NAMED]]


def schema_problems(store: Store) -> list[str]:
    """Name tables, indexes and views that are not as this version's migrations make them."""
    from sqlite_utils import Database

    fresh = sqlite3.connect(":memory:")
    try:
        fresh.execute("PRAGMA trusted_schema = OFF")
        migrations().apply(Database(fresh))
        expected = dict(fresh.execute(_OBJECTS).fetchall())
    finally:
        fresh.close()
    found = {row["what"]: row["sql"] for row in store.rows(_OBJECTS)}
    return [
        *(f"{what} is missing" for what in expected.keys() - found.keys()),
        *(f"{what} is not ours" for what in found.keys() - expected.keys()),
        *(
            f"{what} was changed"
            for what in expected.keys() & found.keys()
            if expected[what] != found[what]
        ),
    ]
