-- Attestations that this home has seen: an entry of one has a digest of what was signed, and only
-- the statement says which artifacts that is about.
CREATE TABLE known_statement (
    subject BLOB NOT NULL CHECK (length(subject) IN (32, 48, 64)),  -- digest of such an artifact
    logged  BLOB NOT NULL CHECK (length(logged) IN (32, 48, 64)),  -- of the payload, or its DSSE encoding
    PRIMARY KEY (subject, logged)
) STRICT, WITHOUT ROWID;

CREATE INDEX known_statement_logged ON known_statement (logged, subject);
