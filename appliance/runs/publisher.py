"""Which publisher key a command signs with."""

from __future__ import annotations

from appliance.errors import ConfigError
from appliance.runs.session import Session
from appliance.store.home.key_files import load_publisher_key, publisher_key_names
from appliance.tlog.publisher_key import PublisherKey


def require_publisher_key(session: Session, name: str | None) -> PublisherKey:
    """Load the named key, or the only one; raises ConfigError (no-key, several-keys)."""

    names = publisher_key_names(session.home)
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
    return load_publisher_key(session.home, name)
