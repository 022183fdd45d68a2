"""Trust material: imported roots, TUF repositories, and what transfer bundles brought.

What a bundle brought is shown, and trusted only by a command.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from appliance.store.database import Store
from appliance.value import frozen

# The Sigstore trusted roots that were imported; the newest one counts.


@frozen
class StoredRoot:
    """One trusted_root.json, byte for byte, and how it came."""

    raw: bytes
    source: str  # the file it was imported from, or: tuf URL root vN targets vM
    imported_at: int  # Unix seconds; of the last time it was confirmed, if it came by TUF

    @property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits."""
        return sha256(self.raw).hexdigest()


def current_root(store: Store) -> StoredRoot | None:
    """Return the trusted root imported last, if any was."""
    row = store.row("SELECT * FROM trusted_root ORDER BY imported_at DESC, rowid DESC LIMIT 1")
    return None if row is None else StoredRoot(row["raw"], row["source"], row["imported_at"])


def all_roots(store: Store) -> tuple[StoredRoot, ...]:
    """List every trusted root that was ever imported, newest first."""
    rows = store.rows("SELECT * FROM trusted_root ORDER BY imported_at DESC, rowid DESC")
    return tuple(StoredRoot(row["raw"], row["source"], row["imported_at"]) for row in rows)


def put_root(store: Store, root: StoredRoot) -> None:
    """Make this the current trusted root; older roots are kept. Call it inside store.atomic()."""
    from appliance.store.home.journal import append_event

    digest = sha256(root.raw).digest()
    before = current_root(store)
    if before is None or before.digest != root.digest:  # not when it is only confirmed
        details = {"digest": root.digest, "source": root.source}
        append_event(store, root.imported_at, "trust.pinned", details)
    store.execute("DELETE FROM trusted_root WHERE digest = ?", [digest])
    store.execute(
        "INSERT INTO trusted_root VALUES (?, ?, ?, ?)",
        [digest, root.raw, root.source, root.imported_at],
    )


# What TUF repositories said, verified: the metadata chain and the files it vouches for.


TRUSTED_ROOT: Final = "trusted_root.json"


@frozen
class TufMetadata:
    """One verified metadata file."""

    role: str  # root, timestamp, snapshot, targets
    version: int  # from 1
    expires_at: int  # Unix seconds
    raw: bytes


@frozen
class TufRepository:
    """A repository, as the last update that succeeded left it."""

    url: str  # of its metadata; ends in a slash
    anchor: bytes  # SHA-256 of the root document it was first trusted by
    updated_at: int  # Unix seconds
    roots: tuple[TufMetadata, ...]  # every version from the first on
    timestamp: TufMetadata
    snapshot: TufMetadata
    targets: TufMetadata
    files: tuple[tuple[str, bytes], ...]  # target name and bytes, by name

    @property
    def trusted_root(self) -> bytes:
        """The trusted_root.json it vouches for."""
        return dict(self.files)[TRUSTED_ROOT]

    @property
    def newest(self) -> tuple[TufMetadata, ...]:
        """The metadata that counts: the newest root, timestamp, snapshot, targets."""
        return (self.roots[-1], self.timestamp, self.snapshot, self.targets)

    @property
    def source(self) -> str:
        """How to call this in one line."""
        return f"tuf {self.url} root v{self.roots[-1].version} targets v{self.targets.version}"


def find_repository(store: Store, url: str) -> TufRepository | None:
    """Return what was last verified of a repository, if any update of it succeeded."""
    row = store.row("SELECT * FROM tuf_repository WHERE url = ?", [url])
    if row is None:
        return None
    found: dict[str, list[TufMetadata]] = {}
    for one in store.rows("SELECT * FROM tuf_metadata WHERE url = ? ORDER BY version", [url]):
        metadata = TufMetadata(one["role"], one["version"], one["expires_at"], one["raw"])
        found.setdefault(metadata.role, []).append(metadata)
    files = store.rows("SELECT name, raw FROM tuf_target WHERE url = ? ORDER BY name", [url])
    return TufRepository(
        url=url,
        anchor=row["anchor"],
        updated_at=row["updated_at"],
        roots=tuple(found["root"]),
        timestamp=found["timestamp"][0],
        snapshot=found["snapshot"][0],
        targets=found["targets"][0],
        files=tuple((file["name"], file["raw"]) for file in files),
    )


def last_repository(store: Store) -> TufRepository | None:
    """Return the repository updated last, if there is one."""
    row = store.row("SELECT url FROM tuf_repository ORDER BY updated_at DESC, url LIMIT 1")
    return None if row is None else find_repository(store, row["url"])


def last_update(store: Store) -> int | None:
    """Return when a repository was updated last, Unix seconds; None: never."""
    row = store.row("SELECT max(updated_at) AS at FROM tuf_repository")
    return None if row is None else row["at"]


def repository_with_root(store: Store, digest: bytes) -> TufRepository | None:
    """Return the repository, last updated, that has a root document with this SHA-256."""
    rows = store.rows(
        "SELECT url, raw FROM tuf_metadata JOIN tuf_repository USING (url) WHERE role = 'root'"
        " ORDER BY updated_at DESC, url, version"
    )
    found = next((row["url"] for row in rows if sha256(row["raw"]).digest() == digest), None)
    return None if found is None else find_repository(store, found)


def repository_of(store: Store, trusted_root: bytes) -> TufRepository | None:
    """Return the repository that vouches for this trusted_root.json now, if one does."""
    row = store.row(
        "SELECT url FROM tuf_target JOIN tuf_repository USING (url)"
        " WHERE name = ? AND digest = ? ORDER BY updated_at DESC, url LIMIT 1",
        [TRUSTED_ROOT, sha256(trusted_root).digest()],
    )
    return None if row is None else find_repository(store, row["url"])


def put_repository(store: Store, repository: TufRepository) -> None:
    """Replace what is stored of a repository. Call it inside store.atomic()."""
    url = repository.url
    for statement in _FORGET:
        store.execute(statement, [url])
    store.execute(
        "INSERT INTO tuf_repository VALUES (?, ?, ?)",
        [url, repository.anchor, repository.updated_at],
    )
    store.execute_many(
        "INSERT INTO tuf_metadata VALUES (?, ?, ?, ?, ?)",
        [
            (url, one.role, one.version, one.expires_at, one.raw)
            for one in (*repository.roots, *repository.newest[1:])
        ],
    )
    store.execute_many(
        "INSERT INTO tuf_target VALUES (?, ?, ?, ?)",
        [(url, name, sha256(raw).digest(), raw) for name, raw in repository.files],
    )


_FORGET: Final = (
    "DELETE FROM tuf_target WHERE url = ?",
    "DELETE FROM tuf_metadata WHERE url = ?",
    "DELETE FROM tuf_repository WHERE url = ?",
)


MAX_FILES: Final = 200


@frozen
class ArrivedFile:
    """One file from below trust/."""

    path: str  # below trust/
    raw: bytes
    bundle_id: str  # that brought it last
    arrived_at: int  # Unix seconds, then

    @property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hex digits."""
        return sha256(self.raw).hexdigest()


def put_arrived(store: Store, file: ArrivedFile) -> bool:
    """Keep a file that arrived, inside store.atomic(); whether it is new here.

    One that arrives again is the newest again: what nobody sends any more is forgotten first.
    """
    place = [file.path, sha256(file.raw).digest()]
    known = store.row("SELECT 1 FROM arrived_trust WHERE path = ? AND digest = ?", place)
    store.execute(
        "INSERT INTO arrived_trust VALUES (?, ?, ?, ?, ?) ON CONFLICT (path, digest) DO UPDATE"
        " SET bundle_id = excluded.bundle_id, arrived_at = excluded.arrived_at"
        " WHERE excluded.arrived_at >= arrived_at",
        [*place, file.raw, file.bundle_id, file.arrived_at],
    )
    return known is None


def forget_oldest(store: Store) -> None:
    """Keep only what arrived last, for exporters can send anything. Inside store.atomic()."""
    store.execute(
        "DELETE FROM arrived_trust WHERE (path, digest) NOT IN (SELECT path, digest"
        " FROM arrived_trust ORDER BY arrived_at DESC, path DESC, digest LIMIT ?)",
        [MAX_FILES],
    )


def arrived_files(store: Store) -> list[ArrivedFile]:
    """List what arrived, newest first."""
    rows = store.rows(
        "SELECT path, raw, bundle_id, arrived_at FROM arrived_trust"
        " ORDER BY arrived_at DESC, path, digest"
    )
    return [
        ArrivedFile(row["path"], row["raw"], row["bundle_id"], row["arrived_at"]) for row in rows
    ]
