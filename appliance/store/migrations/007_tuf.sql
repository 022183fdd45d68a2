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
