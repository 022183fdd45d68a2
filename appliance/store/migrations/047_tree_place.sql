-- Where the trees of a Rekor v1 instance begin: an index over all trees is one within its tree and
-- the entries of all trees before it.
CREATE TABLE tree_place (
    log_id         INTEGER PRIMARY KEY REFERENCES log (id),
    entries_before INTEGER NOT NULL CHECK (entries_before >= 0),
    said_by        TEXT NOT NULL  -- site whose transfer bundle said so; empty: the log signed it with an entry
) STRICT;
