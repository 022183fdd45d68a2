-- What should be signed: the ledger that entries in somebody's name are compared with. It is
-- filled by the operator, by our own queue, publications and log, and by sites whose transfer
-- bundles are believed; never by what stands in a log.
CREATE TABLE expectation (
    id            INTEGER PRIMARY KEY,
    source        TEXT NOT NULL CHECK (source IN ('operator', 'queue', 'publish', 'log-add')),
    reference     TEXT NOT NULL,      -- what makes adding the same again the same: a digest, an id
    site          TEXT,               -- came from there in a transfer bundle; NULL: added here
    created_at    INTEGER NOT NULL,   -- Unix seconds, our clock
    leaf          BLOB CHECK (length(leaf) = 32),    -- of the very entry; NULL: any that meets the rest
    digest        BLOB CHECK (length(digest) IN (32, 48, 64)),  -- of the artifact or payload; NULL: any
    signer        BLOB CHECK (length(signer) = 32),  -- SHA-256 of the key or certificate; NULL: see identity
    identity      TEXT,               -- exact, in a vouched certificate
    pattern       TEXT,               -- or RE2, whole match
    issuer        TEXT,               -- of the identity, exact
    origin        TEXT,               -- in this log; NULL: in any
    count         INTEGER NOT NULL CHECK (count > 0),  -- entries, over all logs
    valid_from    INTEGER,            -- Unix seconds; NULL: always
    valid_until   INTEGER,            -- Unix seconds; NULL: no end
    note          TEXT NOT NULL DEFAULT '',
    cancelled_at  INTEGER,            -- Unix seconds; NULL: it holds
    cancel_reason TEXT,
    -- An identity says nothing without who vouched for it.
    CHECK ((identity IS NULL AND pattern IS NULL) = (issuer IS NULL)),
    CHECK (identity IS NULL OR pattern IS NULL),
    CHECK (signer IS NOT NULL OR issuer IS NOT NULL),
    CHECK (digest IS NOT NULL OR (valid_from IS NOT NULL AND valid_until IS NOT NULL)),
    UNIQUE (source, reference)
) STRICT;

-- Which entries meet an expectation; each was read again and proven before its row was written.
CREATE TABLE expectation_entry (
    expectation INTEGER NOT NULL REFERENCES expectation (id),
    log_id      INTEGER NOT NULL REFERENCES log (id),
    entry_index INTEGER NOT NULL CHECK (entry_index >= 0),
    leaf        BLOB NOT NULL CHECK (length(leaf) = 32),
    found_at    INTEGER NOT NULL,     -- Unix seconds
    PRIMARY KEY (expectation, log_id, entry_index)
) STRICT, WITHOUT ROWID;

CREATE INDEX expectation_entry_leaf ON expectation_entry (leaf);
