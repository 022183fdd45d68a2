"""Which keys were revoked at this site, for commands that also work without a home."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import StoreError
from appliance.runs.session import Session
from appliance.store.revoked_keys import refuse_revoked, revoked_keys
from appliance.tlog.note_keys import VerifierKey


def revoked_here(session: Session) -> tuple[VerifierKey, ...]:
    """Return the keys that were revoked; none without a home."""
    try:
        with session.reading() as store:
            return revoked_keys(store)
    except StoreError as error:
        if error.reason != "no-store":
            raise
        return ()


def refuse_keys_revoked_here(session: Session, keys: Sequence[VerifierKey]) -> None:
    """Raise RefusedError (revoked-key) if one of `keys` was revoked at this site."""
    try:
        with session.reading() as store:
            for key in keys:
                refuse_revoked(store, key)
    except StoreError as error:
        if error.reason != "no-store":
            raise
