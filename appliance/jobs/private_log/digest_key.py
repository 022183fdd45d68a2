"""The key that signs digests for those who bring no signature (log serve --sign-digests).

What it signs says nothing of whoever asked. So it must be no key that stands for something
else: not a publisher's, which vouches for this home, and not a log's.
"""

from __future__ import annotations

from appliance.errors import ApplianceError, IncompleteError, RefusedError
from appliance.jobs.home.keys import DIGESTS, p256_key_type
from appliance.store.database import Store
from appliance.store.home.key_files import (
    has_publisher_key,
    has_signing_key,
    load_publisher_key,
    publisher_key_names,
)
from appliance.store.mirror.logs import all_logs
from appliance.store.revoked_keys import refuse_revoked
from appliance.tlog.note_keys import is_among, same_key
from appliance.tlog.publisher_key import PublisherKey


def require_digest_key(store: Store, name: str) -> PublisherKey:
    """Load the key NAME, which was made to sign digests and is the key of nothing else.

    Raises IncompleteError (no-key), RefusedError (key-role, revoked-key), and as
    load_publisher_key does.
    """
    if not has_publisher_key(store.home, name):
        if has_signing_key(store.home, name):
            raise _other_role(name, "a key that signs notes: a log's, a site's or a witness's")
        raise IncompleteError(
            f"there is no key {name!r} in this home",
            reason="no-key",
            next_step=f"make one: attestor key generate {name} --type digests",
        )
    key_type = p256_key_type(store, name)
    if key_type != DIGESTS:
        raise _other_role(name, f"a key of the type {key_type}")
    key = load_publisher_key(store.home, name, store.passphrases)
    refuse_revoked(store, key.verifier)
    for other in publisher_key_names(store.home):
        if other != name and _has_key(store, other, key.spki):
            raise _other_role(name, f"the key {other!r} as well, a copy of it")
    for log in all_logs(store):
        if is_among(key.spki, log.keys):
            raise _other_role(name, f"the key of the log {log.origin} as well")
    return key


def _has_key(store: Store, name: str, spki: bytes) -> bool:
    try:
        return same_key(load_publisher_key(store.home, name, store.passphrases).spki, spki)
    except ApplianceError:  # it signs nothing as long as it does not load
        return False


def _other_role(name: str, what: str) -> RefusedError:
    return RefusedError(
        f"the key {name!r} is {what}; what signs digests for anybody who asks must sign nothing"
        " else",
        reason="key-role",
        next_step="make one for it: attestor key generate NAME --type digests",
    )
