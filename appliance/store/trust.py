"""The Sigstore trusted roots that were imported; the newest one counts."""

from __future__ import annotations

from hashlib import sha256

from appliance.store.database import Store
from appliance.value import frozen


@frozen
class StoredRoot:
    """One trusted_root.json, byte for byte, and how it came."""

    raw: bytes
    source: str  # the file it was imported from, or: tuf URL root vN targets vM
    imported_at: int  # Unix seconds; of the last time it was confirmed, if it came by TUF

    @property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits."""
        return sha256(self.raw).hexdigest()


def current_root(store: Store) -> StoredRoot | None:
    """Return the trusted root imported last, if any was."""
    row = store.row("SELECT * FROM trusted_root ORDER BY imported_at DESC, rowid DESC LIMIT 1")
    return None if row is None else StoredRoot(row["raw"], row["source"], row["imported_at"])


def put_root(store: Store, root: StoredRoot) -> None:
    """Make this the current trusted root; older ones are kept. Call it inside store.atomic()."""
    from appliance.store.journal import append_event  # verify reads roots, and writes none

    digest = sha256(root.raw).digest()
    before = current_root(store)
    if before is None or before.digest != root.digest:  # not when it is only confirmed
        details = {"digest": root.digest, "source": root.source}
        append_event(store, root.imported_at, "trust.pinned", details)
    store.execute("DELETE FROM trusted_root WHERE digest = ?", [digest])
    store.execute(
        "INSERT INTO trusted_root VALUES (?, ?, ?, ?)",
        [digest, root.raw, root.source, root.imported_at],
    )
