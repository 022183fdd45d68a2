-- How far the ledger was compared with the logs, and what of it has to be judged again: so that
-- a sync looks at what is new, and not at all that was ever expected.
-- compared: 1, with all of expectation_scan. unsettled: how often it changed since it was judged;
-- 0: not at all, and time changes nothing.
ALTER TABLE expectation ADD COLUMN compared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE expectation ADD COLUMN unsettled INTEGER NOT NULL DEFAULT 1;

CREATE INDEX expectation_new ON expectation (id) WHERE compared = 0;
CREATE INDEX expectation_unsettled ON expectation (id) WHERE unsettled > 0;
CREATE INDEX expectation_digest ON expectation (digest);
CREATE INDEX expectation_entry_at ON expectation_entry (log_id, entry_index);

-- Which entries the rows that are marked as compared were compared with, under which trusted
-- root: under another one, another certificate is vouched for. No two of a log touch.
CREATE TABLE expectation_scan (
    log_id      INTEGER NOT NULL REFERENCES log (id),
    start_index INTEGER NOT NULL CHECK (start_index >= 0),
    stop_index  INTEGER NOT NULL CHECK (stop_index > start_index),  -- not included
    trust       TEXT,              -- SHA-256 of the trusted root, hex; NULL: there was none
    PRIMARY KEY (log_id, start_index)
) STRICT, WITHOUT ROWID;

-- Entries of which it cannot be told whether they meet a row: its pattern did not come to an end.
CREATE TABLE expectation_undecided (
    expectation INTEGER NOT NULL REFERENCES expectation (id),
    log_id      INTEGER NOT NULL REFERENCES log (id),
    entry_index INTEGER NOT NULL CHECK (entry_index >= 0),
    why         TEXT NOT NULL,
    PRIMARY KEY (expectation, log_id, entry_index)
) STRICT, WITHOUT ROWID;

-- Up to which of our own requests the ledger was filled.
CREATE TABLE ledger_mark (
    source TEXT PRIMARY KEY CHECK (source IN ('queue', 'publish')),
    number INTEGER NOT NULL  -- of the queue item or the publication
) STRICT, WITHOUT ROWID;
