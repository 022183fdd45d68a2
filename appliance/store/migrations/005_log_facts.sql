-- When a log last answered, or last arrived in a transfer bundle, whether it had grown or not.
CREATE TABLE last_sync (
    log_id INTEGER PRIMARY KEY REFERENCES log (id),
    at     INTEGER NOT NULL           -- Unix seconds, our clock
) STRICT;

-- Whose cosignatures a checkpoint of a log must carry (c2sp.org/tlog-policy).
CREATE TABLE log_policy (
    log_id INTEGER PRIMARY KEY REFERENCES log (id),
    policy BLOB NOT NULL              -- the file, byte for byte
) STRICT;
