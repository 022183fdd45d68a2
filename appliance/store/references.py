"""Which blobs something names: what a sweep must keep and a check must find."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from appliance.store.database import Store
from appliance.store.mirror.logs import all_logs
from appliance.store.mirror.tile_cache import cached_entry_bundles, cached_tiles
from appliance.store.private_log.last_signed import staged_blobs
from appliance.tlog.tile import WIDTH
from appliance.value import frozen


@frozen
class NamedBlob:
    """A blob that must be here, and what for."""

    digest: bytes
    name: str  # for people: path and origin
    n_bytes: int | None  # None: not recorded
    is_passing: bool = False  # of a partial tile or entry bundle: a wider one will replace it


def named_blobs(store: Store) -> Iterator[NamedBlob]:
    """Yield what every row, and every record of a private log, names. Streams.

    Raises MalformedError for a last-signed record that is none.
    """
    for log in all_logs(store):
        for find in (cached_tiles, cached_entry_bundles):
            for cached in find(store, log):
                name = f"{cached.place.path} of {log.origin}"
                is_passing = cached.place.width < WIDTH
                yield NamedBlob(cached.digest, name, cached.n_bytes, is_passing)
    for digest in sorted(staged_blobs(store.home)):
        yield NamedBlob(digest, "batch that a private log signed last", None)


def origin_of(store: Store, blobs: Iterable[str]) -> str:
    """Return the origin of a log that one of these digests (hex) is a tile or entries of, or ""."""
    for name in blobs:
        try:
            digest = bytes.fromhex(name)
        except ValueError:  # a damage that has no digest
            continue
        row = store.row(
            "SELECT origin FROM log WHERE id IN (SELECT log_id FROM tile WHERE digest = ?1"
            " UNION ALL SELECT log_id FROM entry_bundle WHERE digest = ?1)",
            [digest],
        )
        if row is not None:
            return str(row["origin"])
    return ""


def unreferenced(store: Store, digests: Iterable[bytes]) -> set[bytes]:
    """Return those of these digests that nothing names; raises as named_blobs does. Streams."""
    left = set(digests) - staged_blobs(store.home)
    for row in store.execute("SELECT digest FROM tile UNION ALL SELECT digest FROM entry_bundle"):
        left.discard(row["digest"])
    return left


def superseded_blobs(store: Store, since: int | None = None) -> frozenset[bytes]:
    """Return the digests of blobs that wait to be removed: all, or those since before a time.

    Not those that something names again.
    """
    named = staged_blobs(store.home)
    rows = store.execute(
        "SELECT digest FROM superseded_blob AS s WHERE (?1 IS NULL OR since <= ?1)"
        " AND NOT EXISTS (SELECT 1 FROM tile WHERE width < 256 AND digest = s.digest)"
        " AND NOT EXISTS (SELECT 1 FROM entry_bundle WHERE width < 256 AND digest = s.digest)",
        [since],
    )
    return frozenset(row["digest"] for row in rows) - named


def forget_superseded(store: Store, removed_before: int, now: int) -> None:
    """Forget what was removed, and let the time of those run that were superseded since then.

    One transaction.
    """
    with store.atomic():
        store.execute("DELETE FROM superseded_blob WHERE since <= ?", [removed_before])
        store.execute("UPDATE superseded_blob SET since = ? WHERE since IS NULL", [now])


def referenced_digests(store: Store) -> set[bytes]:
    """Return the digest of every blob that something names; raises as named_blobs does."""
    rows = store.rows("SELECT digest FROM tile UNION SELECT digest FROM entry_bundle")
    return {row["digest"] for row in rows} | staged_blobs(store.home)
