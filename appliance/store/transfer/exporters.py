"""Keys that count for nothing any more: who brings them changes nothing.

Only a command on this site revokes, and nothing that arrives takes it back.
"""

from __future__ import annotations

from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.transfer.transfers import drop_exporter
from appliance.tlog.note_keys import VerifierKey, parse_vkey
from appliance.value import frozen


@frozen
class Revocation:
    """One key, and why it does not count."""

    key: VerifierKey
    revoked_at: int  # Unix seconds
    reason: str


def revoke(store: Store, revocation: Revocation) -> None:
    """Withdraw a key from all roles for good; the first reason stays. Inside store.atomic()."""
    vkey, at = revocation.key.vkey, revocation.revoked_at
    drop_exporter(store, revocation.key)
    store.execute(
        "INSERT INTO revoked_key VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [vkey, at, revocation.reason],
    )
    append_event(store, at, "exporter.revoked", {"vkey": vkey, "reason": revocation.reason})


def revocations(store: Store) -> tuple[Revocation, ...]:
    """List what was revoked."""
    rows = store.rows("SELECT * FROM revoked_key ORDER BY revoked_at, vkey")
    return tuple(
        Revocation(parse_vkey(row["vkey"]), row["revoked_at"], row["reason"]) for row in rows
    )
