"""Which publisher key a command signs with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.runs.app import App

if TYPE_CHECKING:
    from appliance.tlog.publisher_key import PublisherKey


def require_publisher_key(app: App, name: str | None) -> PublisherKey:
    """Load the named key, or the only one; raises ConfigError (no-key, several-keys)."""
    from appliance.errors import ConfigError
    from appliance.store.home.key_files import load_publisher_key, publisher_key_names

    names = publisher_key_names(app.home)
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
    return load_publisher_key(app.home, name)
