-- Verdicts that verify --record keeps, so that all can be judged again under another root.
CREATE TABLE verdict (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,     -- Unix seconds, of the newest judgement
    artifact    TEXT NOT NULL,        -- as it was named
    digests     TEXT NOT NULL,        -- JSON: algorithm to hex digest
    bundle      BLOB NOT NULL,        -- Sigstore bundle
    expected    TEXT NOT NULL,        -- JSON: who should have signed
    root_digest TEXT NOT NULL,        -- of the trusted root; empty: none
    code        INTEGER NOT NULL,     -- exit code
    reason      TEXT NOT NULL,        -- why not; empty: verified
    coverage    TEXT NOT NULL,        -- our mirror's word
    UNIQUE (artifact, digests, bundle, expected)
) STRICT;
