-- What the logs are watched for: conditions that every entry is compared with, those of the
-- past as well.
CREATE TABLE watch (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    criteria     TEXT NOT NULL,   -- JSON, as 'attestor watch show' has it
    severity     TEXT NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    expectations TEXT NOT NULL CHECK (expectations IN ('optional', 'required')),
    grace        INTEGER NOT NULL CHECK (grace >= 0),  -- seconds for an expectation to come
    unvouched    TEXT NOT NULL CHECK (unvouched IN ('info', 'ignore', 'same')),
    begins       TEXT NOT NULL,   -- start, now, or the index of an entry
    added_at     INTEGER NOT NULL -- Unix seconds
) STRICT;

-- Which entries a watch was compared with, whatever was found: ranges, because transfer
-- bundles come in any order. No two of a watch and log touch.
CREATE TABLE watch_scan (
    watch_id    INTEGER NOT NULL REFERENCES watch (id) ON DELETE CASCADE,
    log_id      INTEGER NOT NULL REFERENCES log (id),
    start_index INTEGER NOT NULL CHECK (start_index >= 0),
    stop_index  INTEGER NOT NULL CHECK (stop_index > start_index),  -- not included
    PRIMARY KEY (watch_id, log_id, start_index)
) STRICT, WITHOUT ROWID;

-- Entries that met a watch, each read again and proven. Written in one transaction with the
-- range they are in; the alert follows in another, from what stands here without one.
CREATE TABLE watch_match (
    watch_id     INTEGER NOT NULL REFERENCES watch (id) ON DELETE CASCADE,
    log_id       INTEGER NOT NULL REFERENCES log (id),
    entry_index  INTEGER NOT NULL CHECK (entry_index >= 0),
    leaf         BLOB NOT NULL CHECK (length(leaf) = 32),
    found_at     INTEGER NOT NULL,  -- Unix seconds
    finding      TEXT NOT NULL CHECK (finding IN ('matched', 'claimed', 'waiting', 'expected', 'unexpected')),
    entry        TEXT NOT NULL,     -- JSON, as alerts describe it
    alert_number INTEGER REFERENCES alert (number),  -- NULL: nobody was told
    PRIMARY KEY (watch_id, log_id, entry_index)
) STRICT, WITHOUT ROWID;

CREATE INDEX watch_match_untold ON watch_match (watch_id, finding) WHERE alert_number IS NULL;

-- Entries of which no watch can tell, or one cannot: they could not be read, or a pattern
-- did not come to an end.
CREATE TABLE watch_undecided (
    log_id       INTEGER NOT NULL REFERENCES log (id),
    entry_index  INTEGER NOT NULL CHECK (entry_index >= 0),
    why          TEXT NOT NULL,
    found_at     INTEGER NOT NULL,  -- Unix seconds
    alert_number INTEGER REFERENCES alert (number),  -- NULL: nobody was told
    PRIMARY KEY (log_id, entry_index)
) STRICT, WITHOUT ROWID;
