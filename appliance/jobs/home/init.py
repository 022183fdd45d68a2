"""Create a home or bring an older one up to date, name its site and make the site's key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.errors import ConfigError
from appliance.store.database import Store, create_store
from appliance.store.home.key_files import (
    SEED_BYTES,
    create_signing_key,
    has_signing_key,
    load_signing_key,
)
from appliance.store.home.settings import SITE_NAME, SITE_ROLE, put_site_fact, site_fact
from appliance.store.passphrases import NO_PASSPHRASES, Passphrases
from appliance.tlog.note_keys import VerifierKey
from appliance.value import frozen

CONNECTED: Final = "connected"
ISOLATED: Final = "isolated"


@frozen
class Site:
    """What a home is called, after init."""

    name: str | None  # None: init was never told
    role: str
    key: VerifierKey | None  # the public half of the site's key
    key_is_new: bool


def init_home(
    home: Path,
    name: str | None,
    role: str | None,
    random_bytes: Callable[[int], bytes],
    passphrases: Passphrases = NO_PASSPHRASES,
) -> Site:
    """Create or migrate `home`; name it and give it a key if `name` is given. Can be repeated.

    The caller holds the home's lock. Raises ConfigError if the home has another name
    (site-name), or `name` cannot be one; StoreError as create_store does.
    """
    store = create_store(home)
    store.passphrases = passphrases
    try:
        known = site_fact(store, SITE_NAME)
        if known is not None and name not in (None, known):
            raise ConfigError(
                f"this home is the site {known!r}, not {name!r}",
                reason="site-name",
                next_step="a site's name is on what it signed and does not change; use another"
                " home, or leave out --site",
            )
        name = known if name is None else name
        is_new = name is not None and not has_signing_key(home, name)
        if name is not None and is_new:
            create_signing_key(home, name, random_bytes(SEED_BYTES), passphrases)
        # If we die here, there is a key that no name points to yet; the next try finds it.
        return _record(store, name, role, key_is_new=is_new)
    finally:
        store.close()


def _record(store: Store, name: str | None, role: str | None, *, key_is_new: bool) -> Site:
    role = role or site_fact(store, SITE_ROLE) or CONNECTED
    key = None if name is None else load_signing_key(store.home, name, store.passphrases).verifier
    with store.atomic():
        put_site_fact(store, SITE_ROLE, role)
        if name is not None:
            put_site_fact(store, SITE_NAME, name)
    return Site(name, role, key, key_is_new)
