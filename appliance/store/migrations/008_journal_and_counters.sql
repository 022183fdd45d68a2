-- What the appliance did, in order, each line bound to all before it: whoever knows one
-- digest knows that nothing above it was changed, left out or put in. Never changed,
-- never deleted.
CREATE TABLE journal (
    id      INTEGER PRIMARY KEY,      -- from 1, without gaps
    at      INTEGER NOT NULL,         -- Unix seconds, our clock
    event   TEXT NOT NULL,            -- dotted: transfer.imported
    details TEXT NOT NULL,            -- canonical JSON object
    digest  BLOB NOT NULL CHECK (length(digest) = 32)  -- of the chain up to this line
) STRICT;

-- Prometheus counters and histograms: here, because a cron job forgets.
CREATE TABLE counter (
    name   TEXT NOT NULL,             -- as exposed: attestor_rekor_sync_errors_total
    labels TEXT NOT NULL,             -- canonical JSON object; of a histogram's parts with "le"
    value  REAL NOT NULL CHECK (value >= 0),
    PRIMARY KEY (name, labels)
) STRICT, WITHOUT ROWID;
