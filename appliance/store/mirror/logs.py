"""The logs that this home knows: their pinned keys with windows, and the backends they are at."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from appliance.errors import ConfigError, IncompleteError
from appliance.store.database import Store
from appliance.store.revoked_keys import refuse_revoked
from appliance.tlog.note_keys import VerifierKey, log_key, rekor_v1_key
from appliance.value import frozen, replaced

# Which logs this home knows, their pinned keys, and the backends they are reached at.


REKOR_V1: Final = 1
REKOR_V2: Final = 2


@frozen
class Log:
    """A log we know: an origin and the keys that may sign for it."""

    id: int
    origin: str
    api_version: int  # of Rekor: 1 or 2
    keys: tuple[VerifierKey, ...]
    policy: bytes | None = None  # whose cosignatures its checkpoints must carry (tlog-policy)


@frozen
class Backend:
    """A place a log is reached at."""

    name: str
    log: Log
    base_url: str | None  # write API
    read_url: str | None  # tlog-tiles prefix
    enabled: bool
    mirror_of: str | None  # name of the primary backend of the same log
    follows: str | None = None  # host of a Rekor v1 instance; `log` is the tree it stands at

    @property
    def origin(self) -> str:
        """What it was added as: a log's origin, or the host of the instance that it follows."""
        return self.follows or self.log.origin


def verifier_key(api_version: int, name: str, spki: bytes) -> VerifierKey:
    """Make the note key of a log from its public key: Rekor v1 and v2 differ in the key id."""
    return rekor_v1_key(name, spki) if api_version == REKOR_V1 else log_key(name, spki)


def key_name(api_version: int, origin: str) -> str:
    """Return the name a log signs with: its origin, for v1 without the tree id."""
    return origin.partition(" - ")[0] if api_version == REKOR_V1 else origin


def is_tree_origin(origin: str) -> bool:
    """Whether an origin is that of one tree of a Rekor v1 instance: `host - treeID`."""
    host, dash, tree = origin.rpartition(" - ")
    return bool(host and dash) and tree.isascii() and tree.isdigit()


def signed_origin(log: Log, note: bytes) -> str:
    """Return the origin that a checkpoint from where `log` is may have.

    It is the log's own, or that of another tree of the same Rekor v1 instance, which the same
    key signs; nothing is verified here.
    """
    origin = note.partition(b"\n")[0].decode("utf-8", "replace")
    host = key_name(log.api_version, log.origin)
    is_other_tree = log.api_version == REKOR_V1 and is_tree_origin(origin)
    return origin if is_other_tree and key_name(REKOR_V1, origin) == host else log.origin


def trees_of(store: Store, host: str) -> tuple[Log, ...]:
    """List the trees of a Rekor v1 instance that are known here, by origin."""
    return tuple(
        log
        for log in all_logs(store)
        if log.api_version == REKOR_V1 and log.origin.rpartition(" - ")[0] == host
    )


def is_left(store: Store, log: Log) -> bool:
    """Whether a log is a closed tree of an instance that is followed at another one by now."""
    backends, host = all_backends(store), log.origin.rpartition(" - ")[0]
    is_followed = any(one.follows == host and is_tree_origin(one.log.origin) for one in backends)
    is_tree = log.api_version == REKOR_V1 and is_tree_origin(log.origin)
    return is_tree and is_followed and all(one.log.id != log.id for one in backends)


def all_logs(store: Store) -> tuple[Log, ...]:
    """List every log, by origin."""
    return tuple(_log(store, row) for row in store.rows("SELECT * FROM log ORDER BY origin"))


def find_log(store: Store, origin: str) -> Log | None:
    """Return the log with this origin, if it is known."""
    row = store.row("SELECT * FROM log WHERE origin = ?", [origin])
    return _log(store, row) if row else None


def require_log(store: Store, origin: str) -> Log:
    """Return the log with this origin; raises IncompleteError naming those there are.

    The host of a Rekor v1 instance that is followed here stands for the tree it is at.
    """
    found = find_log(store, origin)
    if found is None:
        followed = (one.log for one in all_backends(store) if one.follows == origin)
        found = next(followed, None)
    if found is None:
        known = ", ".join(log.origin for log in all_logs(store)) or "none"
        raise IncompleteError(
            f"no log with origin {origin!r} is configured here (known: {known})",
            reason="unknown-log",
            next_step=f"add it: attestor backend add ID --origin {origin!r} --public-key FILE",
        )
    return found


def add_log(
    store: Store, origin: str, api_version: int, spki: bytes, now: int | None = None
) -> Log:
    """Pin a log, or one more key of a known log, since `now`. Call it inside store.atomic().

    A key that was retired stays so.

    Raises MalformedError for a key nobody may trust, RefusedError for one revoked here,
    ConfigError if the log is known with another API version.
    """
    store.forget()
    name = key_name(api_version, origin)
    refuse_revoked(store, verifier_key(api_version, name, spki))
    known = find_log(store, origin)
    if known and known.api_version != api_version:
        raise ConfigError(
            f"{origin} is a Rekor v{known.api_version} log here, not v{api_version}",
            reason="api-version",
        )
    store.execute(
        "INSERT INTO log (origin, api_version) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [origin, api_version],
    )
    store.execute(
        "INSERT INTO log_key (log_id, name, spki, pinned_at, since_size)"
        " SELECT id, ?, ?, ?, (SELECT max(tree_size) FROM checkpoint WHERE log_id = id)"
        " FROM log WHERE origin = ? ON CONFLICT DO NOTHING",
        [name, spki, now, origin],
    )
    return require_log(store, origin)


def all_backends(store: Store) -> tuple[Backend, ...]:
    """List every backend, by name."""
    return tuple(_backend(store, row) for row in store.rows(_BACKENDS + " ORDER BY name"))


def find_backend(store: Store, name: str) -> Backend | None:
    """Return a backend, if there is one of this name."""
    row = store.row(_BACKENDS + " WHERE name = ?", [name])
    return _backend(store, row) if row else None


def require_backend(store: Store, name: str) -> Backend:
    """Return a backend; raises IncompleteError naming those there are."""
    found = find_backend(store, name)
    if found is None:
        known = ", ".join(one.name for one in all_backends(store)) or "none"
        raise IncompleteError(
            f"no backend {name!r} (known: {known})",
            reason="unknown-backend",
            next_step="see 'attestor backend list', or add it with 'attestor backend add'",
        )
    return found


def select_backends(store: Store, names: Sequence[str]) -> tuple[Backend, ...]:
    """Return the named backends, or all that are enabled.

    Raises IncompleteError for a name that is none's, ConfigError if none is enabled.
    """
    if names:
        return tuple(require_backend(store, name) for name in names)
    enabled = tuple(one for one in all_backends(store) if one.enabled)
    if not enabled:
        raise ConfigError(
            "no backend is enabled",
            reason="no-backend",
            next_step="add one: attestor backend add ID --origin O --public-key FILE --url U",
        )
    return enabled


def put_backend(
    store: Store,
    name: str,
    log: Log,
    *,
    base_url: str | None,
    read_url: str | None,
    enabled: bool = True,
    mirror_of: str | None = None,
    follows: str | None = None,
) -> None:
    """Add a backend or replace what is known of it; never moves it to another log.

    Raises ConfigError if it is another log's, or is the mirror of a backend of another log.
    """
    store.forget()
    row = store.row("SELECT log_id FROM backend WHERE name = ?", [name])
    if row and row["log_id"] != log.id:
        other = require_backend(store, name).log.origin
        raise ConfigError(
            f"backend {name!r} is for {other}, not {log.origin}",
            reason="backend-exists",
            next_step=f"choose another ID, or 'attestor backend remove {name}' first",
        )
    if mirror_of is not None:
        primary = require_backend(store, mirror_of)
        if primary.name == name or primary.log.id != log.id or primary.mirror_of is not None:
            raise ConfigError(
                f"backend {name!r} of {log.origin} cannot mirror {mirror_of!r} of"
                f" {primary.log.origin}",
                reason="mirror-of",
                next_step="a mirror serves the same log as the backend it names, which is"
                " another one and no mirror itself",
            )
    store.execute(
        "INSERT INTO backend (name, log_id, base_url, read_url, enabled, mirror_of, follows)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " base_url = excluded.base_url, read_url = excluded.read_url, enabled = excluded.enabled,"
        " mirror_of = excluded.mirror_of, follows = excluded.follows",
        [name, log.id, base_url, read_url, enabled, mirror_of, follows],
    )


def add_tree(store: Store, backend: Backend, origin: str) -> Log:
    """Pin one more tree of the instance that a backend follows, by the keys it has.

    What is known of these keys goes with them. Call it inside store.atomic().
    """
    store.forget()
    store.execute(
        "INSERT INTO log (origin, api_version) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [origin, REKOR_V1],
    )
    for table, columns in (
        ("log_key", "name, spki, pinned_at, valid_from, valid_until"),
        ("log_policy", "policy"),
    ):
        in_force = " AND retired_at IS NULL" if table == "log_key" else ""
        store.execute(
            f"INSERT INTO {table} (log_id, {columns})"  # noqa: S608 ours
            f" SELECT (SELECT id FROM log WHERE origin = ?), {columns} FROM {table}"
            f" WHERE log_id = ?{in_force} ON CONFLICT DO NOTHING",
            [origin, backend.log.id],
        )
    return require_log(store, origin)


def move_backend(store: Store, backend: Backend, log: Log) -> Backend:
    """Let a backend, and those that mirror the same one, stand at another tree of its instance.

    What it followed before it had a tree is forgotten. Call it inside store.atomic().
    """
    store.forget()
    store.execute(
        "UPDATE backend SET log_id = ?1, follows = coalesce(follows, ?3)"
        " WHERE name = ?2 OR mirror_of = ?2",
        [log.id, backend.mirror_of or backend.name, backend.follows],
    )
    if not is_tree_origin(backend.log.origin):
        for statement in _FORGET:
            store.execute(statement, [backend.log.id])
    return require_backend(store, backend.name)


def known_api_version(store: Store, log: Log) -> int | None:
    """Return the version of Rekor that a log has; None: its first answer will say.

    A bare host name stands for a v2 log, or for an instance of version 1 (place_of).
    """
    if log.api_version == REKOR_V1:
        return REKOR_V1
    said = store.row(
        "SELECT 1 FROM checkpoint WHERE log_id = ?1 UNION ALL"
        " SELECT 1 FROM private_log WHERE log_id = ?1 UNION ALL"
        " SELECT 1 FROM log_key WHERE log_id = ?1 AND valid_from IS NOT NULL LIMIT 1",
        [log.id],
    )
    return None if said is None else log.api_version


def set_api_version(store: Store, log: Log, api_version: int) -> Log:
    """Record which API a log turned out to have. Call it inside store.atomic()."""
    store.forget()
    name = key_name(api_version, log.origin)
    store.execute("UPDATE log SET api_version = ? WHERE id = ?", [api_version, log.id])
    store.execute("UPDATE log_key SET name = ? WHERE log_id = ?", [name, log.id])
    return require_log(store, log.origin)


def place_of(
    store: Store, name: str, origin: str, api_version: int | None
) -> tuple[str, str | None, int]:
    """Return the origin of the log that a backend stands at, the instance it follows, its API.

    A bare host name of a Rekor v1 instance stands for the tree that is active there, which
    its first sync finds out. Without `api_version` it is what is known here, or what the origin
    says; else 2 until an instance of version 1 answers with a head that the pinned key signed.
    """
    followed = [one for one in all_backends(store) if one.follows == origin]
    if followed and api_version != REKOR_V2:
        return followed[0].log.origin, origin, REKOR_V1
    known = find_log(store, origin)
    if api_version is None:
        said = REKOR_V1 if is_tree_origin(origin) else REKOR_V2
        api_version = known.api_version if known else said
    follows = api_version == REKOR_V1 and not is_tree_origin(origin)
    return origin, origin if follows else None, api_version


def set_backend_enabled(store: Store, name: str, *, enabled: bool) -> None:
    """Switch a backend on or off; raises IncompleteError if there is none."""
    store.forget()
    require_backend(store, name)
    store.execute("UPDATE backend SET enabled = ? WHERE name = ?", [enabled, name])


def swap_primary(store: Store, name: str, mirror: str) -> None:
    """Make `mirror` the enabled primary of a log, and `name` its mirror.

    The other mirrors follow. Call it inside store.atomic().
    """
    store.forget()
    store.execute("UPDATE backend SET mirror_of = NULL, enabled = 1 WHERE name = ?", [mirror])
    store.execute("UPDATE backend SET mirror_of = ?1 WHERE mirror_of = ?2", [mirror, name])
    store.execute("UPDATE backend SET mirror_of = ? WHERE name = ?", [mirror, name])


def remove_backend(store: Store, name: str) -> bool:
    """Forget how to reach a log; whether the log itself went too.

    The log goes only if nothing was ever accepted from it: history is never forgotten.
    Call it inside store.atomic(). Raises IncompleteError if there is no such backend,
    ConfigError if others mirror it.
    """
    store.forget()
    backend = require_backend(store, name)
    if mirrors := [one.name for one in all_backends(store) if one.mirror_of == name]:
        raise ConfigError(
            f"backend {name!r} is mirrored by {', '.join(mirrors)}", reason="mirror-of"
        )
    store.execute("DELETE FROM backend WHERE name = ?", [name])
    store.execute("DELETE FROM backend_run WHERE backend = ?", [name])
    used = store.row(
        "SELECT 1 FROM backend WHERE log_id = :log UNION ALL"
        " SELECT 1 FROM checkpoint WHERE log_id = :log UNION ALL"
        " SELECT 1 FROM evidence WHERE log_id = :log UNION ALL"
        " SELECT 1 FROM alert WHERE log_id = :log UNION ALL"
        " SELECT 1 FROM seen_checkpoint WHERE log_id = :log UNION ALL"
        " SELECT 1 FROM private_log WHERE log_id = :log LIMIT 1".replace(":log", "?1"),
        [backend.log.id],
    )
    if used:
        return False
    for statement in _FORGET:
        store.execute(statement, [backend.log.id])
    return True


def put_policy(store: Store, log: Log, policy: bytes | None) -> None:
    """Demand cosignatures on the checkpoints of a log, or no longer. In store.atomic()."""
    store.execute("DELETE FROM log_policy WHERE log_id = ?", [log.id])
    if policy is not None:
        store.execute("INSERT INTO log_policy VALUES (?, ?)", [log.id, policy])


_BACKENDS: Final = "SELECT backend.*, log.origin FROM backend JOIN log ON log.id = backend.log_id"


_FORGET: Final = (
    "DELETE FROM log_key WHERE log_id = ?",
    "DELETE FROM log_policy WHERE log_id = ?",
    "DELETE FROM last_sync WHERE log_id = ?",
    "DELETE FROM tree_place WHERE log_id = ?",
    "DELETE FROM log WHERE id = ?",
)


def _log(store: Store, row: sqlite3.Row) -> Log:
    policy = store.row("SELECT policy FROM log_policy WHERE log_id = ?", [row["id"]])
    keys = store.rows("SELECT * FROM log_key WHERE log_id = ? ORDER BY spki", [row["id"]])
    version = row["api_version"]
    return Log(
        row["id"],
        row["origin"],
        version,
        tuple(_key(version, key) for key in keys),
        policy["policy"] if policy else None,
    )


def _key(api_version: int, row: sqlite3.Row) -> VerifierKey:
    key = verifier_key(api_version, row["name"], row["spki"])
    return key if row["retired_size"] is None else replaced(key, max_size=row["retired_size"])


@frozen
class KeyLife:
    """One pinned key of a log: since when, within which window, until when."""

    key: VerifierKey
    pinned_at: int | None  # Unix seconds; None: before this was kept
    since_size: int | None  # leaves that were accepted then; None: none, or not kept
    valid_from: int | None  # Unix seconds, as a trusted root said; None: always
    valid_until: int | None  # the same; None: still
    retired_at: int | None  # Unix seconds; None: in force
    retired_size: int | None  # leaves of the largest tree it may have signed; None: in force
    retired_reason: str

    @property
    def ends_at(self) -> int | None:
        """The last time at which it may have signed, Unix seconds; None: it still may."""
        ends = [end for end in (self.valid_until, self.retired_at) if end is not None]
        return min(ends, default=None)


def key_lives(store: Store, log: Log) -> tuple[KeyLife, ...]:
    """List the pinned keys of a log, oldest first."""
    rows = store.rows(
        "SELECT * FROM log_key WHERE log_id = ? ORDER BY coalesce(pinned_at, 0), spki", [log.id]
    )
    return tuple(
        KeyLife(
            _key(log.api_version, row),
            row["pinned_at"],
            row["since_size"],
            row["valid_from"],
            row["valid_until"],
            row["retired_at"],
            row["retired_size"],
            row["retired_reason"],
        )
        for row in rows
    )


def put_retirement(store: Store, log: Log, spki: bytes, now: int, reason: str) -> int:
    """Retire a key at the size that is accepted now, and return that. Inside store.atomic().

    A key that is retired already stays retired as it was.
    """
    store.forget()
    store.execute(
        "UPDATE log_key SET retired_at = ?1, retired_reason = ?2, retired_size = coalesce("
        "(SELECT max(tree_size) FROM checkpoint WHERE checkpoint.log_id = log_key.log_id), 0)"
        " WHERE log_id = ?3 AND spki = ?4 AND retired_at IS NULL",
        [now, reason, log.id, spki],
    )
    row = store.row(
        "SELECT retired_size FROM log_key WHERE log_id = ? AND spki = ?", [log.id, spki]
    )
    return int(row["retired_size"]) if row else 0


def _backend(store: Store, row: sqlite3.Row) -> Backend:
    return Backend(
        row["name"],
        require_log(store, row["origin"]),
        row["base_url"],
        row["read_url"],
        bool(row["enabled"]),
        row["mirror_of"],
        row["follows"],
    )


def put_window(store: Store, log: Log, spki: bytes, start: int | None, end: int | None) -> bool:
    """Record the window of one key (Unix seconds; None: open); whether that changed anything."""
    changed = store.execute(
        "UPDATE log_key SET valid_from = ?1, valid_until = ?2 WHERE log_id = ?3 AND spki = ?4"
        " AND (valid_from IS NOT ?1 OR valid_until IS NOT ?2)",
        [start, end, log.id, spki],
    )
    return changed.rowcount > 0


def key_windows(store: Store, log: Log) -> dict[bytes, tuple[int | None, int | None]]:
    """Return the window of each key of a log, by SPKI."""
    rows = store.rows("SELECT * FROM log_key WHERE log_id = ?", [log.id])
    return {row["spki"]: (row["valid_from"], row["valid_until"]) for row in rows}


def window_end(store: Store, log: Log) -> int | None:
    """Return when the last key of a log ends, Unix seconds; None: one does not."""
    ends = [end for _, end in key_windows(store, log).values()]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None
