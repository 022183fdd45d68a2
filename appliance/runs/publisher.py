"""Which publisher key a command signs with."""

from __future__ import annotations

from appliance.errors import ConfigError, RefusedError
from appliance.jobs.home.keys import DIGESTS, p256_key_type
from appliance.runs.session import Session
from appliance.store.home.key_files import load_publisher_key, publisher_key_names
from appliance.tlog.publisher_key import PublisherKey


def require_publisher_key(session: Session, name: str | None) -> PublisherKey:
    """Load the named key, or the only one.

    Raises ConfigError (no-key, several-keys), RefusedError (key-role) for one that signs digests.
    """

    with session.reading() as store:
        types = {one: p256_key_type(store, one) for one in publisher_key_names(session.home)}
    names = [one for one, key_type in types.items() if key_type != DIGESTS]
    if name is not None and types.get(name) == DIGESTS:
        raise RefusedError(
            f"the key {name!r} signs digests for anybody who asks; a publisher's vouches for this"
            " home",
            reason="key-role",
            next_step="make one for it: attestor key generate NAME --type publisher",
        )
    if name is None:
        if len(names) != 1:
            raise ConfigError(
                f"there are several publisher keys: {', '.join(names)}"
                if names
                else "there is no publisher key",
                reason="several-keys" if names else "no-key",
                next_step="choose one with --key NAME"
                if names
                else "make one: attestor key generate NAME --type publisher",
            )
        [name] = names
    return load_publisher_key(session.home, name, session.passphrases)
