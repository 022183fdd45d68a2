-- What a witness key of this home cosigned last of a log (c2sp.org/tlog-witness): the largest
-- tree; nothing that is inconsistent with it is cosigned, and nothing smaller.
CREATE TABLE cosigned (
    origin TEXT NOT NULL,  -- of the log; it outlives the log's pin, on purpose
    key_name TEXT NOT NULL,  -- of the witness: keys/NAME.key
    tree_size INTEGER NOT NULL CHECK (tree_size >= 0),  -- entries
    root_hash BLOB NOT NULL CHECK (length(root_hash) = 32),
    note BLOB NOT NULL,  -- the log's checkpoint with our cosignature
    cosigned_at INTEGER NOT NULL,  -- Unix seconds
    PRIMARY KEY (origin, key_name)
) STRICT;
