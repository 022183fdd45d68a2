"""Which keys of logs a home trusts: its trusted roots, its pins, what it retired and revoked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from appliance.errors import ApplianceError
from appliance.sigstore.log_trust import LogTrust, settle_trust
from appliance.sigstore.trusted_root import LogKey, TrustedRoot, parse_trusted_root, pinned_log_key
from appliance.sigstore.validity import Window, unix_time
from appliance.store.database import Store
from appliance.store.mirror.logs import REKOR_V1, all_logs, key_lives
from appliance.store.revoked_keys import revoked_keys
from appliance.store.verify.trust import all_roots
from appliance.value import replaced

MAX_TREE_SIZE: Final = 2**63 - 1


def log_trust(store: Store, root: TrustedRoot | None, *, with_pins: bool = True) -> LogTrust:
    """Settle which keys count under a root; without pins they only limit the root's keys."""
    pins = [
        pinned_log_key(
            replaced(life.key, max_size=None),
            Window(_time(life.valid_from), _time(life.ends_at)),
            api_version=log.api_version,
            # A v1 key signs several trees; time alone retires it for all of them.
            max_size=life.retired_size
            if life.retired_size is None or log.api_version != REKOR_V1
            else MAX_TREE_SIZE,
        )
        for log in all_logs(store)
        for life in key_lives(store, log)
    ]
    settled = settle_trust(root, lambda: _named_before(store), pins, revoked_keys(store))
    return settled if with_pins else replaced(settled, pins=())


def _named_before(store: Store) -> Iterator[LogKey]:
    for stored in all_roots(store):
        try:
            yield from parse_trusted_root(stored.raw).logs
        except ApplianceError:  # from before this version became stricter; it names nobody
            continue


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else unix_time(seconds)
