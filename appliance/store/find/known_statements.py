"""Which artifacts the attestations are about that this home has seen, by what logs have of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from appliance.store.database import Store

_TOGETHER: Final = 500  # values in one query


def add_known_statement(store: Store, logged: Iterable[bytes], subjects: Iterable[bytes]) -> None:
    """Remember what a statement is about; `logged`: each digest that an entry may have of it."""
    rows = [(subject, digest) for digest in logged for subject in subjects]
    insert = "INSERT OR IGNORE INTO known_statement (subject, logged) VALUES (?, ?)"
    store.execute_many(insert, rows)


def logged_about(store: Store, subjects: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return what entries have of the statements that are about any of these artifacts."""
    return _others(store, "logged", "subject", subjects)


def subjects_of(store: Store, logged: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the digests of the artifacts that statements with these digests are about."""
    return _others(store, "subject", "logged", logged)


def _others(store: Store, column: str, by: str, values: Sequence[bytes]) -> tuple[bytes, ...]:
    found: set[bytes] = set()
    for at in range(0, len(values), _TOGETHER):
        some = values[at : at + _TOGETHER]
        among = ", ".join("?" * len(some))
        sql = f"SELECT {column} FROM known_statement WHERE {by} IN ({among})"  # noqa: S608 ours
        found.update(row[0] for row in store.rows(sql, some))
    return tuple(sorted(found))
