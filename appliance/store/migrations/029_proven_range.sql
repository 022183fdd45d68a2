-- Hashes of ranges of leaves of a log that serves no tiles, each from a proof that was verified
-- under a checkpoint accepted here. What is here proves anew what was proven before, offline.
CREATE TABLE proven_range (
    log_id INTEGER NOT NULL REFERENCES log (id),
    start  INTEGER NOT NULL CHECK (start >= 0),       -- first leaf
    stop   INTEGER NOT NULL CHECK (stop > start),     -- one beyond the last leaf
    hash   BLOB NOT NULL CHECK (length(hash) = 32),   -- Merkle root of these leaves
    PRIMARY KEY (log_id, start, stop)
) STRICT, WITHOUT ROWID;

-- Ranges that are no perfect subtree belong to one tree size only; these go with it.
CREATE INDEX proven_edge ON proven_range (log_id, stop) WHERE ((stop - start) & (stop - start - 1)) <> 0;
