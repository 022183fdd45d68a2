"""The two settings that name what the home itself is made of: its database and its blobs."""

from __future__ import annotations

import re
from typing import Final

from appliance.errors import ConfigError

OWN_FILES: Final = {
    "checkpointStore.connectionString": "attestor.db",
    "tileCache.basePath": "blobs",
}
_DATABASE_SERVER: Final = re.compile(
    r"(?i)postgres|(?:^|[;\s])(?:host|server|port|database|dbname|user(?:name| id)?|password)\s*="
)


def own_file(name: str, path: str, home: str) -> str:
    """Return the file's name within the home, if `path` is it: absolute or as it is in the home.

    It is kept without the home, so that a copied home is its own. Blobs may lie in another
    directory, whose absolute path is returned. Raises ConfigError (reason foreign-path, or
    postgresql for what looks like a database server).
    """
    own = OWN_FILES[name]
    if path.rstrip("/") in (own, f"{home.rstrip('/')}/{own}"):
        return own
    if name == "checkpointStore.connectionString" and _DATABASE_SERVER.search(path):
        # Not quoted: it may hold a password.
        raise ConfigError(
            "this names a database server, and the store is one SQLite file: there is no"
            " PostgreSQL behind this appliance, so that one copied file carries all it knows",
            reason="postgresql",
            next_step=f"remove the key, or write {own}",
        )
    if name == "tileCache.basePath":
        if path.startswith("/") and path.rstrip("/"):
            return path.rstrip("/")
        raise ConfigError(
            f"expected {own} or the absolute path of a directory, got {path[:80]!r}",
            reason="foreign-path",
            next_step=f"write the whole path, or {own} for this home's own",
        )
    raise ConfigError(
        f"expected {own}, this home's own, got {path[:80]!r}: the database is the home",
        reason="foreign-path",
        next_step=f"remove the key, and choose another home with --home (now {home or 'unset'})",
    )
