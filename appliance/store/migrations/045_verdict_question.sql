-- What verify was asked beyond the signer belongs to the question: the same files, asked with other
-- demands, are another verdict. A constraint cannot be changed in place.
ALTER TABLE verdict RENAME TO verdict_without_demands;

-- Verdicts that verify --record keeps, so that all can be judged again under another root.
CREATE TABLE verdict (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,     -- Unix seconds, of the newest judgement
    artifact    TEXT NOT NULL,        -- as it was named
    digests     TEXT NOT NULL,        -- JSON: algorithm to hex digest
    bundle      BLOB NOT NULL,        -- Sigstore bundle
    expected    TEXT NOT NULL,        -- JSON: who should have signed
    demands     TEXT NOT NULL,        -- JSON: what else was demanded, allowed and given; {}: nothing
    root_digest TEXT NOT NULL,        -- of the trusted root; empty: none
    code        INTEGER NOT NULL,     -- exit code
    reason      TEXT NOT NULL,        -- why not; empty: verified
    coverage    TEXT NOT NULL,        -- our mirror's word
    UNIQUE (artifact, digests, bundle, expected, demands)
) STRICT;

INSERT INTO verdict
    SELECT id, at, artifact, digests, bundle, expected, '{}', root_digest, code, reason, coverage
    FROM verdict_without_demands;
DROP TABLE verdict_without_demands;

-- Trusted roots that were given to verify --record as files; the verdicts asked under them name
-- them in their demands, and are judged again under them.
CREATE TABLE given_root (
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),  -- SHA-256 of raw
    raw    BLOB NOT NULL                                       -- as it was given, one root or several
) STRICT;
