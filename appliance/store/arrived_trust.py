"""Trust material that came in transfer bundles: shown, and trusted only by a command."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from appliance.store.database import Store
from appliance.value import frozen

MAX_FILES: Final = 200


@frozen
class ArrivedFile:
    """One file from below trust/."""

    path: str  # below trust/
    raw: bytes
    bundle_id: str  # that brought it first
    arrived_at: int  # Unix seconds, first

    @property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits."""
        return sha256(self.raw).hexdigest()


def put_arrived(store: Store, file: ArrivedFile) -> bool:
    """Keep a file that arrived, inside store.atomic(); whether it is new here."""
    added = store.execute(
        "INSERT INTO arrived_trust VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            file.path,
            sha256(file.raw).digest(),
            file.raw,
            file.bundle_id,
            file.arrived_at,
        ],
    )
    return added.rowcount > 0


def forget_oldest(store: Store) -> None:
    """Keep only what arrived last, for exporters can send anything. Inside store.atomic()."""
    store.execute(
        "DELETE FROM arrived_trust WHERE (path, digest) NOT IN (SELECT path, digest"
        " FROM arrived_trust ORDER BY arrived_at DESC, path DESC, digest LIMIT ?)",
        [MAX_FILES],
    )


def arrived_files(store: Store) -> list[ArrivedFile]:
    """List what arrived, newest first."""
    rows = store.rows(
        "SELECT path, raw, bundle_id, arrived_at FROM arrived_trust"
        " ORDER BY arrived_at DESC, path, digest"
    )
    return [
        ArrivedFile(row["path"], row["raw"], row["bundle_id"], row["arrived_at"]) for row in rows
    ]
