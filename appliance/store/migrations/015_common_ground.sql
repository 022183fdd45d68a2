-- How many leaves the two stories of a pair of notes were seen to share; NULL: not known, so none.
ALTER TABLE evidence ADD COLUMN shared_size INTEGER CHECK (shared_size >= 0);

-- What a quarantine rests on: it begins at the smallest size that any of these shares.
CREATE TABLE quarantine_evidence (
    quarantine_id INTEGER NOT NULL REFERENCES quarantine (id),
    evidence_id   INTEGER NOT NULL REFERENCES evidence (id),
    PRIMARY KEY (quarantine_id, evidence_id)
) STRICT, WITHOUT ROWID;
