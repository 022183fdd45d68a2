-- Entries of a log that serves no entry bundles, fetched one window at a time. Each is proven: its
-- leaf hash is in proven_range.
CREATE TABLE entry_window (
    log_id      INTEGER NOT NULL REFERENCES log (id),
    entry_index INTEGER NOT NULL CHECK (entry_index >= 0),  -- within its tree
    body        BLOB NOT NULL,                              -- the entry, one zstd frame
    PRIMARY KEY (log_id, entry_index)
) STRICT, WITHOUT ROWID;
