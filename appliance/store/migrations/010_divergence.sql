-- Checkpoints of a log seen elsewhere that are larger than ours: signed, not yet proven to be
-- of the tree we know. Compared, and taken out of here, once our own tree is that large.
CREATE TABLE seen_checkpoint (
    log_id    INTEGER NOT NULL REFERENCES log (id),
    digest    BLOB NOT NULL CHECK (length(digest) = 32),    -- SHA-256 of note
    tree_size INTEGER NOT NULL CHECK (tree_size >= 0),
    root_hash BLOB NOT NULL CHECK (length(root_hash) = 32),
    note      BLOB NOT NULL,
    detail    TEXT NOT NULL,          -- file or URL it was seen in
    seen_at   INTEGER NOT NULL,       -- Unix seconds, our clock
    PRIMARY KEY (log_id, digest)
) STRICT, WITHOUT ROWID;

-- How the syncs of each backend went: a cron job forgets.
CREATE TABLE backend_run (
    backend      TEXT PRIMARY KEY,
    attempted_at INTEGER NOT NULL,    -- Unix seconds, last
    succeeded_at INTEGER,             -- Unix seconds, last; NULL: never
    confirmed_at INTEGER,             -- Unix seconds, when it last offered our head or a newer one
    behind_since INTEGER,             -- Unix seconds; NULL: what it offered last was not older
    behind_count INTEGER NOT NULL DEFAULT 0,        -- times in a row that it was older
    failures     INTEGER NOT NULL DEFAULT 0         -- times in a row that it did not succeed
) STRICT, WITHOUT ROWID;

-- How the commands that cron runs ended last.
CREATE TABLE command_run (
    command   TEXT PRIMARY KEY,       -- without the program's name: sync, alerts send
    exit_code INTEGER NOT NULL,
    ended_at  INTEGER NOT NULL        -- Unix seconds
) STRICT, WITHOUT ROWID;

-- A log is quarantined once, from the smallest size that any of its stories begins to differ at.
CREATE UNIQUE INDEX quarantine_holds ON quarantine (log_id) WHERE lifted_at IS NULL;
