-- What somebody has to know. One row for each condition as long as it lasts: what is found
-- again counts up, what went away and came back is a new row.
CREATE TABLE alert (
    number       INTEGER PRIMARY KEY,  -- for people
    id           TEXT NOT NULL UNIQUE, -- for machines, the idempotency id: 32 hex digits
    condition    TEXT NOT NULL,        -- what makes two findings the same one
    type         TEXT NOT NULL,        -- RootHashMismatch, StaleCheckpoint, … (the metric's label)
    event_type   TEXT NOT NULL,        -- rekor.checkpoint.divergence, …
    severity     TEXT NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    log_id       INTEGER REFERENCES log (id),       -- NULL: not about a log
    evidence_id  INTEGER REFERENCES evidence (id),  -- NULL: nothing signed contradicts itself
    detected_at  INTEGER NOT NULL,     -- Unix seconds, first
    last_seen_at INTEGER NOT NULL,     -- Unix seconds
    count        INTEGER NOT NULL DEFAULT 1,        -- times found
    payload      TEXT NOT NULL,        -- JSON, exactly what is delivered
    ended_at     INTEGER,              -- Unix seconds; NULL: it still lasts
    acked_at     INTEGER,              -- Unix seconds; NULL: nobody has seen it
    ack_note     TEXT
) STRICT;

CREATE UNIQUE INDEX alert_lasting ON alert (condition) WHERE ended_at IS NULL;

-- The outbox: one row for each alert and sink, written with the alert, kept until delivered.
CREATE TABLE delivery (
    alert_number INTEGER NOT NULL REFERENCES alert (number),
    sink         TEXT NOT NULL,        -- what it delivers to, as configured: webhook https://…
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at      INTEGER NOT NULL,     -- Unix seconds; not before this
    delivered_at INTEGER,              -- Unix seconds; NULL: not yet
    last_error   TEXT,
    PRIMARY KEY (alert_number, sink)
) STRICT, WITHOUT ROWID;

-- Logs that contradicted themselves, from the last size that both of their stories share.
CREATE TABLE quarantine (
    id               INTEGER PRIMARY KEY,
    log_id           INTEGER NOT NULL REFERENCES log (id),
    last_common_size INTEGER NOT NULL CHECK (last_common_size >= 0),  -- leaves; older proofs stay good
    alert_number     INTEGER NOT NULL REFERENCES alert (number),
    since            INTEGER NOT NULL, -- Unix seconds
    lifted_at        INTEGER,          -- Unix seconds; NULL: it holds
    lift_reason      TEXT
) STRICT;

CREATE VIEW v_alerts AS
    SELECT alert.number, alert.id, type, event_type, severity, log.origin, evidence_id, count,
           strftime('%Y-%m-%dT%H:%M:%SZ', detected_at, 'unixepoch') AS detected_at,
           strftime('%Y-%m-%dT%H:%M:%SZ', last_seen_at, 'unixepoch') AS last_seen_at,
           strftime('%Y-%m-%dT%H:%M:%SZ', ended_at, 'unixepoch') AS ended_at,
           strftime('%Y-%m-%dT%H:%M:%SZ', acked_at, 'unixepoch') AS acked_at,
           payload
      FROM alert LEFT JOIN log ON log.id = alert.log_id;
