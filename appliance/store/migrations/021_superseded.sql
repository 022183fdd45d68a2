-- Blobs whose row went on to a wider tile or entry bundle: readers take no lock, and may be
-- about to read one of them. A later run removes it.

-- Blobs of partial tiles and entry bundles that no row names any more, to be removed.
CREATE TABLE superseded_blob (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    since  INTEGER                    -- Unix seconds of the first run after; NULL: none was yet
) STRICT, WITHOUT ROWID;

CREATE INDEX superseded_blob_since ON superseded_blob (since);

-- The few that are named and may be superseded: of full ones none ever is.
CREATE INDEX tile_partial ON tile (digest) WHERE width < 256;
CREATE INDEX entry_bundle_partial ON entry_bundle (digest) WHERE width < 256;

CREATE TRIGGER tile_is_superseded AFTER UPDATE OF digest ON tile
WHEN old.width < 256 AND old.digest <> new.digest
BEGIN
    INSERT INTO superseded_blob (digest) VALUES (old.digest) ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER entry_bundle_is_superseded AFTER UPDATE OF digest ON entry_bundle
WHEN old.width < 256 AND old.digest <> new.digest
BEGIN
    INSERT INTO superseded_blob (digest) VALUES (old.digest) ON CONFLICT DO NOTHING;
END;
