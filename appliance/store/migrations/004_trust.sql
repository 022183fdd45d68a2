-- Sigstore trusted roots, byte for byte. The one imported last counts; none is forgotten,
-- since verdicts name the root they rest on.
CREATE TABLE trusted_root (
    digest      BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),  -- SHA-256 of raw
    raw         BLOB NOT NULL,        -- trusted_root.json
    source      TEXT NOT NULL,        -- where it came from
    imported_at INTEGER NOT NULL      -- Unix seconds
) STRICT;
