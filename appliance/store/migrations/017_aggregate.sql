-- Items that went into our own log together, because the budget was short: what is
-- submitted for all of them is the digest of that log's checkpoint.
CREATE TABLE aggregate (
    number    INTEGER PRIMARY KEY,
    log_id    INTEGER NOT NULL REFERENCES log (id),  -- our own
    tree_size INTEGER NOT NULL CHECK (tree_size > 0),
    note      BLOB NOT NULL,          -- its checkpoint, byte for byte: the digest is of this
    root_item INTEGER NOT NULL UNIQUE REFERENCES queue_item (number),  -- that is submitted
    made_at   INTEGER NOT NULL        -- Unix seconds
) STRICT;

-- Which items are in it. They are `aggregated` until the root is logged.
CREATE TABLE aggregate_item (
    item        INTEGER PRIMARY KEY REFERENCES queue_item (number),
    aggregate   INTEGER NOT NULL REFERENCES aggregate (number),
    entry_index INTEGER NOT NULL CHECK (entry_index >= 0)  -- in our own log
) STRICT;

CREATE INDEX aggregate_item_of ON aggregate_item (aggregate);
