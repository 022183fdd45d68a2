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
