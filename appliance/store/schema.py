"""The database schema, as append-only migrations (DESIGN.md section 4).

Each migration is applied in one transaction together with its own record. A shipped
one is never edited: add another. The comments are stored with the tables, so the file
explains itself to whoever opens it in ten years.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlite_utils.db import Database
    from sqlite_utils.migrations import Migrations

MIGRATION_SET: Final = "attestor"

MIGRATIONS: Final[dict[str, str]] = {
    "001_logs_and_tiles": """
-- Effective settings that differ from the defaults, and what init recorded of this site.
CREATE TABLE setting (
    key   TEXT PRIMARY KEY,           -- dotted, as in the configuration: rekorSync.syncInterval
    value TEXT NOT NULL                -- JSON
) STRICT, WITHOUT ROWID;

-- One row for each log. Rows are never deleted while they hold a checkpoint: forgetting
-- how far a log had got would let it show us a different past.
CREATE TABLE log (
    id            INTEGER PRIMARY KEY,
    origin        TEXT NOT NULL UNIQUE,  -- first line of its checkpoints
    api_version   INTEGER NOT NULL CHECK (api_version IN (1, 2)),  -- Rekor's; decides the key id
    mirror_size   INTEGER,               -- tree size of the mirror checkpoint; NULL: none
    audited_size  INTEGER NOT NULL DEFAULT 0,  -- leaves that the last audit rebuilt
    audited_peaks BLOB NOT NULL DEFAULT x'',   -- its compact range, 32 bytes a set bit
    FOREIGN KEY (id, mirror_size) REFERENCES checkpoint (log_id, tree_size)
) STRICT;

-- The keys whose signature makes a checkpoint of a log worth reading.
CREATE TABLE log_key (
    log_id      INTEGER NOT NULL REFERENCES log (id),
    name        TEXT NOT NULL,        -- as on its signature lines
    spki        BLOB NOT NULL,        -- SubjectPublicKeyInfo DER
    valid_from  INTEGER,              -- Unix seconds; NULL: always
    valid_until INTEGER,              -- Unix seconds, inclusive; NULL: still
    PRIMARY KEY (log_id, spki)
) STRICT, WITHOUT ROWID;

-- Where a log can be reached. A mirror backend serves the same log from elsewhere.
CREATE TABLE backend (
    name      TEXT PRIMARY KEY,       -- the operator's word for it
    log_id    INTEGER NOT NULL REFERENCES log (id),
    base_url  TEXT,                   -- write API; NULL on an isolated site
    read_url  TEXT,                   -- tlog-tiles prefix; NULL: derived from base_url
    enabled   INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    mirror_of TEXT REFERENCES backend (name)
) STRICT, WITHOUT ROWID;

-- Every tree head we ever accepted. The largest is the accepted checkpoint. Never changed
-- and never deleted by a sync; a second root for one size is evidence, not a row.
CREATE TABLE checkpoint (
    log_id        INTEGER NOT NULL REFERENCES log (id),
    tree_size     INTEGER NOT NULL CHECK (tree_size >= 0),  -- leaves
    root_hash     BLOB NOT NULL CHECK (length(root_hash) = 32),
    first_seen_at INTEGER NOT NULL,   -- Unix seconds, by us or by the site that exported it
    stored_at     INTEGER NOT NULL,   -- Unix seconds, our clock
    PRIMARY KEY (log_id, tree_size)
) STRICT, WITHOUT ROWID;

-- The signed notes for them, byte for byte; one tree head may have been signed many times.
CREATE TABLE checkpoint_note (
    log_id    INTEGER NOT NULL,
    tree_size INTEGER NOT NULL,
    digest    BLOB NOT NULL CHECK (length(digest) = 32),    -- SHA-256 of note
    note      BLOB NOT NULL,
    source    TEXT NOT NULL CHECK (source IN ('direct', 'mirror', 'import', 'seen', 'private')),
    detail    TEXT NOT NULL,          -- URL or file it came from
    seen_at   INTEGER NOT NULL,       -- Unix seconds, our clock
    PRIMARY KEY (log_id, tree_size, digest),
    FOREIGN KEY (log_id, tree_size) REFERENCES checkpoint (log_id, tree_size)
) STRICT, WITHOUT ROWID;

-- Which blob holds which tile. A row exists only once its blob is durable and the tile
-- authenticated under an accepted checkpoint. A wider tile replaces a narrower one, of
-- which it is an extension.
CREATE TABLE tile (
    log_id     INTEGER NOT NULL REFERENCES log (id),
    level      INTEGER NOT NULL CHECK (level BETWEEN 0 AND 63),
    tile_index INTEGER NOT NULL CHECK (tile_index >= 0),
    width      INTEGER NOT NULL CHECK (width BETWEEN 1 AND 256),  -- hashes; 256: full
    digest     BLOB NOT NULL CHECK (length(digest) = 32),         -- of the stored bytes
    PRIMARY KEY (log_id, level, tile_index)
) STRICT, WITHOUT ROWID;

-- The same for entry bundles, the entries under one level 0 tile, zstd at rest.
CREATE TABLE entry_bundle (
    log_id     INTEGER NOT NULL REFERENCES log (id),
    tile_index INTEGER NOT NULL CHECK (tile_index >= 0),
    width      INTEGER NOT NULL CHECK (width BETWEEN 1 AND 256),
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    n_bytes    INTEGER NOT NULL CHECK (n_bytes > 0),              -- stored, compressed
    PRIMARY KEY (log_id, tile_index)
) STRICT, WITHOUT ROWID;

-- Proof that a log contradicted itself. Written before anybody is told; never deleted.
CREATE TABLE evidence (
    id          INTEGER PRIMARY KEY,
    log_id      INTEGER NOT NULL REFERENCES log (id),
    rule        TEXT NOT NULL,        -- RootMismatch, Fork, Rollback (SPEC.md section 7)
    detected_at INTEGER NOT NULL,     -- Unix seconds
    ours        BLOB NOT NULL,        -- the signed note we hold
    theirs      BLOB NOT NULL,        -- the signed note that contradicts it
    details     TEXT NOT NULL,        -- JSON: source, proof, roots
    UNIQUE (log_id, ours, theirs)
) STRICT;

CREATE VIEW v_checkpoints AS
    SELECT log.origin, tree_size, lower(hex(root_hash)) AS root_hash,
           strftime('%Y-%m-%dT%H:%M:%SZ', first_seen_at, 'unixepoch') AS first_seen_at,
           (SELECT count(*) FROM checkpoint_note AS n
             WHERE n.log_id = checkpoint.log_id AND n.tree_size = checkpoint.tree_size) AS notes
      FROM checkpoint JOIN log ON log.id = checkpoint.log_id;

CREATE VIEW rekor_checkpoints AS SELECT * FROM v_checkpoints;
""",
    "002_transfer": """
-- Who may sign the transfer bundles and the receipts that we believe.
CREATE TABLE exporter (
    vkey       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('exporter', 'receipt')),
    added_at   INTEGER NOT NULL,      -- Unix seconds
    PRIMARY KEY (vkey, role)
) STRICT, WITHOUT ROWID;

-- Every transfer bundle that left or arrived whole.
CREATE TABLE transfer (
    bundle_id  TEXT NOT NULL CHECK (length(bundle_id) = 64),  -- SHA-256 of its manifest, hex
    direction  TEXT NOT NULL CHECK (direction IN ('export', 'import')),
    at         INTEGER NOT NULL,      -- Unix seconds
    site       TEXT NOT NULL,         -- the other side of an import; ourselves in an export
    file_name  TEXT NOT NULL,
    tar_digest BLOB NOT NULL CHECK (length(tar_digest) = 32),
    unsigned   INTEGER NOT NULL DEFAULT 0 CHECK (unsigned IN (0, 1)),  -- --insecure-unsigned
    PRIMARY KEY (bundle_id, direction)
) STRICT, WITHOUT ROWID;

-- Per log, what such a bundle brought: deltas start from here.
CREATE TABLE transfer_log (
    bundle_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    origin    TEXT NOT NULL,
    base_size INTEGER,                -- NULL: complete from the first leaf
    head_size INTEGER NOT NULL,
    old_size  INTEGER,                -- our mirror size before; NULL: none
    new_size  INTEGER,                -- and after; NULL: none
    PRIMARY KEY (bundle_id, direction, origin),
    FOREIGN KEY (bundle_id, direction) REFERENCES transfer (bundle_id, direction)
) STRICT, WITHOUT ROWID;
""",
    "003_private_log": """
-- The logs that this home is the operator of.
CREATE TABLE private_log (
    log_id     INTEGER PRIMARY KEY REFERENCES log (id),
    name       TEXT NOT NULL UNIQUE,  -- the operator's word for it; its files go by its origin
    created_at INTEGER NOT NULL       -- Unix seconds
) STRICT;

-- What was logged already, so that the same body is not logged twice.
CREATE TABLE private_entry (
    log_id      INTEGER NOT NULL REFERENCES private_log (log_id),
    identity    BLOB NOT NULL CHECK (length(identity) = 32),  -- SHA-256 of the canonical body
    entry_index INTEGER NOT NULL CHECK (entry_index >= 0),
    PRIMARY KEY (log_id, identity)
) STRICT, WITHOUT ROWID;
""",
    "004_trust": """
-- Sigstore trusted roots, byte for byte. The one imported last counts; none is forgotten,
-- since verdicts name the root they rest on.
CREATE TABLE trusted_root (
    digest      BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),  -- SHA-256 of raw
    raw         BLOB NOT NULL,        -- trusted_root.json
    source      TEXT NOT NULL,        -- where it came from
    imported_at INTEGER NOT NULL      -- Unix seconds
) STRICT;
""",
    "005_log_facts": """
-- When a log last answered, or last arrived in a transfer bundle, whether it had grown or not.
CREATE TABLE last_sync (
    log_id INTEGER PRIMARY KEY REFERENCES log (id),
    at     INTEGER NOT NULL           -- Unix seconds, our clock
) STRICT;

-- Whose cosignatures a checkpoint of a log must carry (c2sp.org/tlog-policy).
CREATE TABLE log_policy (
    log_id INTEGER PRIMARY KEY REFERENCES log (id),
    policy BLOB NOT NULL              -- the file, byte for byte
) STRICT;
""",
    "006_verdicts": """
-- Verdicts that verify --record keeps, so that all can be judged again under another root.
CREATE TABLE verdict (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,     -- Unix seconds, of the newest judgement
    artifact    TEXT NOT NULL,        -- as it was named
    digests     TEXT NOT NULL,        -- JSON: algorithm to hex digest
    bundle      BLOB NOT NULL,        -- Sigstore bundle
    expected    TEXT NOT NULL,        -- JSON: who should have signed
    root_digest TEXT NOT NULL,        -- of the trusted root; empty: none
    code        INTEGER NOT NULL,     -- exit code
    reason      TEXT NOT NULL,        -- why not; empty: verified
    coverage    TEXT NOT NULL,        -- our mirror's word
    UNIQUE (artifact, digests, bundle, expected)
) STRICT;
""",
    "007_tuf": """
-- The TUF repositories that trust update follows, each from a root document somebody trusted.
CREATE TABLE tuf_repository (
    url        TEXT PRIMARY KEY,      -- of its metadata; ends in a slash
    anchor     BLOB NOT NULL CHECK (length(anchor) = 32),  -- SHA-256 of that first root document
    updated_at INTEGER NOT NULL       -- Unix seconds, our clock: when all below was last verified
) STRICT, WITHOUT ROWID;

-- Its verified metadata, byte for byte: every root from the first on, so that whoever trusts
-- any of them can follow, and of the other roles the newest, below which nothing is taken.
CREATE TABLE tuf_metadata (
    url        TEXT NOT NULL REFERENCES tuf_repository (url),
    role       TEXT NOT NULL CHECK (role IN ('root', 'timestamp', 'snapshot', 'targets')),
    version    INTEGER NOT NULL CHECK (version > 0),
    expires_at INTEGER NOT NULL,      -- Unix seconds
    raw        BLOB NOT NULL,
    PRIMARY KEY (url, role, version)
) STRICT, WITHOUT ROWID;

-- The files that the newest targets metadata vouches for, of those we have a use for.
CREATE TABLE tuf_target (
    url    TEXT NOT NULL REFERENCES tuf_repository (url),
    name   TEXT NOT NULL,             -- trusted_root.json, signing_config.v0.2.json
    digest BLOB NOT NULL CHECK (length(digest) = 32),      -- SHA-256 of raw
    raw    BLOB NOT NULL,
    PRIMARY KEY (url, name)
) STRICT, WITHOUT ROWID;
""",
}


def migrations() -> Migrations:
    """Build the migration set for sqlite-utils (imported here: it costs 80 ms)."""
    from sqlite_utils.migrations import Migrations

    built = Migrations(MIGRATION_SET)
    for name, script in MIGRATIONS.items():
        built(name=name)(_applier(script))
    return built


def _applier(script: str) -> Callable[[Database], None]:
    def apply(db: Database) -> None:
        # Not executescript: that commits first, and a crash would leave half a schema.
        for statement in _statements(script):
            db.execute(statement)

    return apply


def _statements(script: str) -> Iterator[str]:
    from sqlite3 import complete_statement

    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and complete_statement(pending):
            yield pending.strip()
            pending = ""
