-- A set of volumes is one export. What a later delta may build on carries every tile.
ALTER TABLE transfer ADD COLUMN volume_set TEXT NOT NULL DEFAULT '';
ALTER TABLE transfer ADD COLUMN volume_number INTEGER NOT NULL DEFAULT 1;
ALTER TABLE transfer ADD COLUMN volume_of INTEGER NOT NULL DEFAULT 1;
ALTER TABLE transfer ADD COLUMN complete INTEGER NOT NULL DEFAULT 1 CHECK (complete IN (0, 1));

-- What far sides of the gap say they hold: deltas for them start there.
CREATE TABLE far_head (
    site      TEXT NOT NULL,
    origin    TEXT NOT NULL,
    tree_size INTEGER NOT NULL CHECK (tree_size >= 0),  -- leaves
    root_hash BLOB NOT NULL CHECK (length(root_hash) = 32),
    told_at   INTEGER NOT NULL,       -- Unix seconds, its clock
    how       TEXT NOT NULL CHECK (how IN ('receipt', 'have', 'code')),
    PRIMARY KEY (site, origin)
) STRICT, WITHOUT ROWID;

-- Receipts of imports: our own, until they are known to have crossed, and those of far sides.
CREATE TABLE receipt (
    bundle_id TEXT NOT NULL CHECK (length(bundle_id) = 64),
    site      TEXT NOT NULL,          -- that imported it
    ours      INTEGER NOT NULL CHECK (ours IN (0, 1)),
    at        INTEGER NOT NULL,       -- Unix seconds, our clock
    note      BLOB NOT NULL,          -- the signed note, byte for byte; empty: a code by phone
    PRIMARY KEY (bundle_id, site)
) STRICT, WITHOUT ROWID;

-- Which export carried which of our receipts and trusted roots: a few times, for sticks get lost.
CREATE TABLE carried (
    what       TEXT NOT NULL,         -- receipt:BUNDLE-ID, trust:SHA-256
    volume_set TEXT NOT NULL,         -- of the export
    PRIMARY KEY (what, volume_set)
) STRICT, WITHOUT ROWID;

-- Keys that count for nothing any more, whoever brings them.
CREATE TABLE revoked_key (
    vkey       TEXT NOT NULL PRIMARY KEY,
    revoked_at INTEGER NOT NULL,      -- Unix seconds
    reason     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What came in trust/ of transfer bundles: shown, and trusted only once somebody says so.
CREATE TABLE arrived_trust (
    path       TEXT NOT NULL,         -- below trust/
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    raw        BLOB NOT NULL,
    bundle_id  TEXT NOT NULL,
    arrived_at INTEGER NOT NULL,      -- Unix seconds
    PRIMARY KEY (path, digest)
) STRICT, WITHOUT ROWID;
