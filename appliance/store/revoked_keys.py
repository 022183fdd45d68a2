"""Keys that count for nothing any more, in any role and under any name.

A key is revoked by its public key bytes. Only a command on this site revokes, and nothing
that arrives, and no other name for the same key, takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.errors import RefusedError
from appliance.store.database import Store
from appliance.tlog.note_keys import VerifierKey, is_among, parse_stored_key, same_key
from appliance.value import frozen


@frozen
class Revocation:
    """One key, and why it does not count."""

    key: VerifierKey  # under the name it had when it was revoked
    revoked_at: int  # Unix seconds
    reason: str


def revocations(store: Store) -> tuple[Revocation, ...]:
    """List what was revoked."""
    rows = store.rows("SELECT * FROM revoked_key ORDER BY revoked_at, vkey")
    return tuple(
        Revocation(parse_stored_key(row["vkey"]), row["revoked_at"], row["reason"]) for row in rows
    )


def put_revocation(store: Store, revocation: Revocation) -> bool:
    """Remember that a key is revoked, inside store.atomic(); the first reason stays.

    Returns whether it was not revoked before.
    """
    if find_revocation(store, revocation.key) is not None:
        return False
    store.execute(
        "INSERT INTO revoked_key VALUES (?, ?, ?)",
        [revocation.key.vkey, revocation.revoked_at, revocation.reason],
    )
    return True


def find_revocation(store: Store, key: VerifierKey) -> Revocation | None:
    """Return the revocation of a key, under whatever name it was revoked."""
    return next(
        (revocation for revocation in revocations(store) if same_key(revocation.key, key)), None
    )


def refuse_revoked(store: Store, key: VerifierKey) -> None:
    """Raise RefusedError (revoked-key) if a key was revoked here, under whatever name."""
    found = find_revocation(store, key)
    if found is None:
        return
    other = "" if found.key.name == key.name else f" as the key of {found.key.name}"
    raise RefusedError(
        f"{key.name}+{key.key_id.hex()} was revoked here{other}: {found.reason}",
        reason="revoked-key",
        next_step="a revoked key never comes back; have them make a new key",
    )


def revoked_keys(store: Store) -> tuple[VerifierKey, ...]:
    """Return the keys that were revoked."""
    return tuple(revocation.key for revocation in revocations(store))


def not_revoked(store: Store, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Return those of `keys` that count."""
    revoked = revoked_keys(store)
    return tuple(key for key in keys if not is_among(key, revoked))
