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
    rule        TEXT NOT NULL,        -- RootMismatch, Fork, Rollback
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
