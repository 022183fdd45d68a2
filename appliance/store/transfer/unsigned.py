"""Imports that nobody had signed: remembered, and named by every run that builds on them."""

from __future__ import annotations

from appliance.store.database import Store
from appliance.value import frozen


@frozen
class Unsigned:
    """Transfer bundles that were taken from nobody in particular (--insecure-unsigned)."""

    count: int
    last_at: int  # Unix seconds
    last_bundle_id: str

    def __str__(self) -> str:
        many = "transfer bundles" if self.count > 1 else "transfer bundle"
        return (
            f"{self.count} {many} came in unsigned (--insecure-unsigned), last"
            f" {self.last_bundle_id[:12]}: 'attestor journal list' says when"
        )


def unsigned_imports(store: Store) -> Unsigned | None:
    """Return what was taken unsigned; None if nothing ever was."""
    row = store.row(
        "SELECT count(*) OVER () AS n, at, bundle_id FROM transfer"
        " WHERE direction = 'import' AND unsigned ORDER BY at DESC, bundle_id LIMIT 1"
    )
    return None if row is None else Unsigned(row["n"], row["at"], row["bundle_id"])
