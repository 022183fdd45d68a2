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
