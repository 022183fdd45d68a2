-- What is published: a digest, signed and logged elsewhere, so that others can witness it.
-- The exact request is here before it is posted, and goes out again until a log has it.
CREATE TABLE publication (
    number       INTEGER PRIMARY KEY, -- for people
    digest       BLOB NOT NULL CHECK (length(digest) = 32),  -- SHA-256
    journal_line INTEGER,             -- of the journal it is the digest; NULL: it was given
    log_id       INTEGER NOT NULL REFERENCES log (id),
    api_version  INTEGER NOT NULL CHECK (api_version IN (1, 2)),  -- of its Rekor
    request      BLOB NOT NULL,       -- byte for byte what is posted
    created_at   INTEGER NOT NULL,    -- Unix seconds
    tried_at     INTEGER,             -- Unix seconds, last; NULL: never
    attempts     INTEGER NOT NULL DEFAULT 0,
    state        TEXT NOT NULL DEFAULT 'waiting'
                     CHECK (state IN ('waiting', 'logged', 'refused')),
    message      TEXT NOT NULL DEFAULT '',  -- why it is not logged
    log_index    INTEGER CHECK (log_index >= 0),  -- NULL: not logged; v1: over all shards
    entry        BLOB,                -- TransparencyLogEntry, JSON, verified; NULL: not logged
    CHECK ((state = 'logged') = (entry IS NOT NULL)),
    CHECK ((state = 'logged') = (log_index IS NOT NULL))
) STRICT;

CREATE INDEX publication_waiting ON publication (state, number);
