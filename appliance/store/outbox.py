"""What has to leave this home, whatever it is: claimed before it goes, settled after.

Queue items, publications and deliveries are rows of three tables that share these steps:

    claim    the attempt is counted; durable before a byte leaves
    settle   what came of it: it arrived, when to try again, or that it is given up
    release  it was claimed and not tried: it stands as before

Each step changes a row only if no other run was there first. If we die between claiming and
settling, the same bytes go out again later, and the other side knows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from appliance.store.database import Store
from appliance.value import frozen


@frozen
class Outbox:
    """A table whose rows are sent. It has a column `attempts`; names and conditions are SQL."""

    table: str
    key: tuple[str, ...]  # columns
    waiting: str  # condition: it may be claimed
    claimed: str  # condition: it may be settled

    def claim(self, store: Store, keys: Iterable[tuple[Any, ...]], **columns: Any) -> None:
        """Count an attempt of each row, and set columns. Call it inside store.atomic()."""
        changes = ", ".join(["attempts = attempts + 1", *(f"{name} = ?" for name in columns)])
        store.execute_many(
            self._update(changes, self.waiting), [(*columns.values(), *key) for key in keys]
        )

    def settle(self, store: Store, *key: Any, **columns: Any) -> bool:
        """Set columns of a row; False if another run was first. Inside store.atomic()."""
        changes = ", ".join(f"{name} = ?" for name in columns)
        done = store.execute(self._update(changes, self.claimed), [*columns.values(), *key])
        return done.rowcount > 0

    def release(self, store: Store, *key: Any, attempts: int, **columns: Any) -> None:
        """Take a claim back: `attempts` is how many there were before it."""
        self.settle(store, *key, attempts=attempts, **columns)

    def _update(self, changes: str, condition: str) -> str:
        where = " AND ".join([*(f"{name} = ?" for name in self.key), condition])
        return f"UPDATE {self.table} SET {changes} WHERE {where}"  # noqa: S608 our own words
