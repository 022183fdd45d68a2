"""What TUF repositories said, verified: the metadata chain and the files it vouches for.

Nothing is stored here before all of it is verified (THREATS.md 1.3). The next update compares
with it, and a site without a network can be handed it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from appliance.store.database import Store
from appliance.value import frozen

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
