"""Revoking a key, an exporter's or a log's: it goes from all roles, and no name brings it back."""

from __future__ import annotations

from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.revoked_keys import Revocation, put_revocation
from appliance.store.transfer.transfers import drop_exporter


def revoke(store: Store, revocation: Revocation) -> None:
    """Withdraw a key from all roles for good; the first reason stays. Inside store.atomic()."""
    drop_exporter(store, revocation.key)
    put_revocation(store, revocation)
    details = {"vkey": revocation.key.vkey, "reason": revocation.reason}
    append_event(store, revocation.revoked_at, "exporter.revoked", details)
