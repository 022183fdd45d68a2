"""The logs that this home is the operator of, and what was logged in them already.

Their trees are stored like any mirrored log's (mirror.py), so whatever works on a mirror
works on them. Why the order of writes is safe is told in jobs/private_log/sequence.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from appliance.errors import ConfigError, IncompleteError, StoreError
from appliance.store.database import Store
from appliance.store.mirror.checkpoints import Arrival, History
from appliance.store.mirror.entry_frames import compress_bundle
from appliance.store.mirror.logs import Log, require_log
from appliance.store.mirror.mirror import Mirror, supersede
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.growth import Growth
from appliance.value import frozen

SIGNED_HERE: Final = "signed here"
_SELECT: Final = "SELECT p.*, log.origin FROM private_log AS p JOIN log ON log.id = p.log_id"


@frozen
class PrivateLog:
    """A log of our own. Its key and its last-signed record go by its origin."""

    name: str  # the operator's word for it, and its backend
    log: Log
    created_at: int  # Unix seconds


@frozen
class DurableGrowth:
    """New tiles and entry bundles that are on disk, as rows that may now name them."""

    tile_rows: list[tuple[object, ...]]
    bundle_rows: list[tuple[object, ...]]
    staged: bytes  # digest of the staging blob


def all_private_logs(store: Store) -> tuple[PrivateLog, ...]:
    """List the logs of this home, by name."""
    return tuple(_private_log(store, row) for row in store.rows(_SELECT + " ORDER BY p.name"))


def require_private_log(store: Store, name: str | None) -> PrivateLog:
    """Return the named log of this home, or its only one.

    Raises IncompleteError if there is none of that name (no-private-log), ConfigError if
    there are several and no name (which-log).
    """
    logs = all_private_logs(store)
    chosen = [log for log in logs if name is None or log.name == name]
    if len(chosen) == 1:
        return chosen[0]
    known = ", ".join(log.name for log in logs) or "none"
    if chosen:
        raise ConfigError(
            f"this home runs several private logs: {known}",
            reason="which-log",
            next_step="name one with --log NAME",
        )
    asked = "private log" if name is None else f"private log {name!r}"
    raise IncompleteError(
        f"this home runs no {asked} (known: {known})",
        reason="no-private-log",
        next_step="create one: attestor log create NAME --origin HOST",
    )


def add_private_log(
    store: Store, name: str, log: Log, checkpoint: SignedCheckpoint, now: int
) -> PrivateLog:
    """Record that this home operates `log`, and its empty tree. Call it inside store.atomic()."""
    store.forget()
    store.execute("INSERT INTO private_log VALUES (?, ?, ?)", [log.id, name, now])
    Mirror(store, log).history.insert(checkpoint, Arrival("private", SIGNED_HERE, now))
    store.execute("UPDATE log SET mirror_size = 0 WHERE id = ?", [log.id])
    return PrivateLog(name, log, now)


def find_private_log(store: Store, name: str | None) -> PrivateLog | None:
    """Return the named log of this home, or its only one; None if there is none."""
    logs = all_private_logs(store)
    if name is None and len(logs) != 1:
        return None
    return next((log for log in logs if name is None or log.name == name), None)


def adopt_private_log(
    store: Store, name: str, log: Log, empty: SignedCheckpoint, now: int
) -> PrivateLog:
    """Record that this home operates a log it may already mirror. Inside store.atomic()."""
    if History(store, log).accepted() is None:
        return add_private_log(store, name, log, empty, now)
    store.forget()
    store.execute("INSERT INTO private_log VALUES (?, ?, ?)", [log.id, name, now])
    return PrivateLog(name, log, now)


def remember_logged(store: Store, private: PrivateLog, first: int, bodies: Sequence[bytes]) -> None:
    """Record where bodies stand that were logged in another life of the log."""
    with store.atomic():
        store.execute_many(
            "INSERT INTO private_entry VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (private.log.id, sha256(body).digest(), first + position)
                for position, body in enumerate(bodies)
            ],
        )


def indexed_size(store: Store, private: PrivateLog) -> int:
    """Return after how many entries what was recorded of where they stand ends."""
    row = store.row(
        "SELECT max(entry_index) AS last FROM private_entry WHERE log_id = ?", [private.log.id]
    )
    return 0 if row is None or row["last"] is None else int(row["last"]) + 1


def logged_index(store: Store, private: PrivateLog, body: bytes) -> int | None:
    """Return where this body was logged, None if it never was."""
    row = store.row(
        "SELECT entry_index FROM private_entry WHERE log_id = ? AND identity = ?",
        [private.log.id, sha256(body).digest()],
    )
    return None if row is None else int(row["entry_index"])


def put_growth(store: Store, private: PrivateLog, growth: Growth, staged: bytes) -> DurableGrowth:
    """Make new tiles, entry bundles and the staging blob durable; nothing names them yet."""
    packed = [compress_bundle(data) for data in growth.entry_bundles.values()]
    digests = store.blobs.put([*growth.tiles.values(), *packed, staged])
    log_id = private.log.id
    tile_digests = digests[: len(growth.tiles)]
    bundle_digests = digests[len(growth.tiles) : -1]
    return DurableGrowth(
        [
            (log_id, tile.level, tile.index, tile.width, digest)
            for tile, digest in zip(growth.tiles, tile_digests, strict=True)
        ],
        [
            (log_id, bundle.index, bundle.width, digest, len(data))
            for bundle, digest, data in zip(
                growth.entry_bundles, bundle_digests, packed, strict=True
            )
        ],
        digests[-1],
    )


def publish(
    store: Store,
    private: PrivateLog,
    durable: DurableGrowth,
    checkpoint: SignedCheckpoint,
    bodies: Sequence[bytes],
    now: int,
    *,
    used: bytes | None = None,
) -> None:
    """Move a private log's head to `checkpoint`, whose new entries are `bodies`; all or nothing.

    `used` is the digest of a staging blob that was needed until now; None: there is none.
    When this returns, the new head is durable. Raises StoreError (reason head-moved) if the
    head is not where these entries start.
    """
    log = private.log
    new_size = checkpoint.head.tree_size
    old_size = new_size - len(bodies)
    with store.atomic():
        Mirror(store, log).put_rows(durable.tile_rows, durable.bundle_rows)
        if used and used != durable.staged:
            supersede(store, used)
        store.execute_many(
            "INSERT INTO private_entry VALUES (?, ?, ?)",
            [
                (log.id, sha256(body).digest(), old_size + position)
                for position, body in enumerate(bodies)
            ],
        )
        arrival = Arrival("private", SIGNED_HERE, now)
        Mirror(store, log).history.insert(checkpoint, arrival)
        # Compare-and-swap made visible: two runs can never both append at one size.
        moved = store.execute(
            "UPDATE log SET mirror_size = ? WHERE id = ? AND mirror_size = ?",
            [new_size, log.id, old_size],
        )
        if moved.rowcount != 1:
            raise StoreError(
                f"the head of {log.origin} is no longer at {old_size}", reason="head-moved"
            )


def _private_log(store: Store, row: sqlite3.Row) -> PrivateLog:
    return PrivateLog(row["name"], require_log(store, row["origin"]), row["created_at"])
