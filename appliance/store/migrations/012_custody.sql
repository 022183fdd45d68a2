-- Who had which medium when: append-only, each line bound to all before it, as in the journal.
CREATE TABLE custody (
    id        INTEGER PRIMARY KEY,    -- from 1, without gaps
    at        INTEGER NOT NULL,       -- Unix seconds, our clock
    action    TEXT NOT NULL,          -- exported, sealed, handed-over, received, imported, …
    who       TEXT NOT NULL,          -- the person who answers for it
    bundle_id TEXT NOT NULL,          -- of a transfer bundle, 64 hex digits; empty: none in particular
    medium    TEXT NOT NULL,          -- what it is on; empty: not said
    seal      TEXT NOT NULL,          -- number on the seal; empty: none
    ticket    TEXT NOT NULL,          -- what asked for it; empty: nothing
    remark    TEXT NOT NULL,
    digest    BLOB NOT NULL CHECK (length(digest) = 32)  -- of the chain up to this line
) STRICT;
