"""Settings and site facts, one row each; what they mean is in appliance/config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from appliance.errors import ConfigError, StoreError
from appliance.store.database import Store
from appliance.store.failures import CORRUPT, RESTORE

SITE_NAME: Final = "site.name"
SITE_ROLE: Final = "site.role"  # connected or isolated
SITE_INSTANCE: Final = "site.instance"  # of Sigstore that init was told to follow
_SITE_PREFIX: Final = "site."


def read_settings(store: Store) -> dict[str, Any]:
    """Return every stored setting by its dotted key; keys not here have their default."""
    rows = store.rows("SELECT key, value FROM setting ORDER BY key")
    return {
        row["key"]: _parse(store, row["key"], row["value"])
        for row in rows
        if not row["key"].startswith(_SITE_PREFIX)
    }


def replace_settings(store: Store, settings: Mapping[str, Any]) -> None:
    """Make these the stored settings, all or nothing, inside store.atomic()."""
    store.forget()
    store.execute("DELETE FROM setting WHERE key NOT LIKE 'site.%'")
    store.execute_many(
        "INSERT INTO setting VALUES (?, ?)",
        [(key, json.dumps(value)) for key, value in settings.items()],
    )


def site_fact(store: Store, key: str) -> str | None:
    """Return what init recorded of this site: SITE_NAME or SITE_ROLE."""
    row = store.row("SELECT value FROM setting WHERE key = ?", [key])
    return None if row is None else str(_parse(store, key, row["value"]))


def key_type_fact(name: str) -> str:
    """Return the name of the fact that says what a private key was made for."""
    return f"site.keyType.{name}"


def put_site_fact(store: Store, key: str, value: str) -> None:
    """Record a fact of this site."""
    store.forget()
    store.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [key, json.dumps(value)],
    )


def require_site_name(store: Store) -> str:
    """Return the site's name, which is also its key's; raises ConfigError if it has none."""
    name = site_fact(store, SITE_NAME)
    if name is None:
        raise ConfigError(
            "this home has no site name",
            reason="no-site",
            next_step="name it: attestor init --site NAME",
        )
    return name


def _parse(store: Store, key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(
            f"{store.home}: setting {key!r} is damaged: {text[:80]!r}",
            reason=CORRUPT,
            next_step=RESTORE,
        ) from error
