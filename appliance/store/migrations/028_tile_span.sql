-- What is stored of 256 tiles in a row, as entry_span has it for entry bundles: so that what is
-- missing, what is covered and how much there is are told without looking at each tile. Kept by
-- triggers: whoever adds or removes a row changes its span in the same transaction.
CREATE TABLE tile_span (
    log_id   INTEGER NOT NULL REFERENCES log (id),
    level    INTEGER NOT NULL CHECK (level BETWEEN 0 AND 63),
    span     INTEGER NOT NULL CHECK (span >= 0),            -- tile_index / 256
    n_full   INTEGER NOT NULL CHECK (n_full BETWEEN 0 AND n_tiles),      -- tiles of 256 hashes
    n_tiles  INTEGER NOT NULL CHECK (n_tiles BETWEEN 0 AND 256),
    n_hashes INTEGER NOT NULL CHECK (n_hashes >= n_tiles),  -- in all of its tiles
    PRIMARY KEY (log_id, level, span)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tile_came AFTER INSERT ON tile
BEGIN
    INSERT INTO tile_span
    VALUES (new.log_id, new.level, new.tile_index / 256, new.width = 256, 1, new.width)
    ON CONFLICT DO UPDATE SET n_full = n_full + excluded.n_full, n_tiles = n_tiles + 1,
        n_hashes = n_hashes + excluded.n_hashes;
END;

CREATE TRIGGER tile_changed AFTER UPDATE OF width ON tile
BEGIN
    UPDATE tile_span SET n_full = n_full + (new.width = 256) - (old.width = 256),
        n_hashes = n_hashes + new.width - old.width
    WHERE log_id = new.log_id AND level = new.level AND span = new.tile_index / 256;
END;

CREATE TRIGGER tile_went AFTER DELETE ON tile
BEGIN
    UPDATE tile_span SET n_full = n_full - (old.width = 256), n_tiles = n_tiles - 1,
        n_hashes = n_hashes - old.width
    WHERE log_id = old.log_id AND level = old.level AND span = old.tile_index / 256;
END;

INSERT INTO tile_span
SELECT log_id, level, tile_index / 256, sum(width = 256), count(*), sum(width) FROM tile
GROUP BY log_id, level, tile_index / 256;

-- The same of entry bundles, and how much there is of them: n_bytes as stored, compressed.
ALTER TABLE entry_span ADD COLUMN n_bundles INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entry_span ADD COLUMN n_bytes INTEGER NOT NULL DEFAULT 0;

DROP TRIGGER entry_bundle_came;
DROP TRIGGER entry_bundle_changed;
DROP TRIGGER entry_bundle_went;

CREATE TRIGGER entry_bundle_came AFTER INSERT ON entry_bundle
BEGIN
    INSERT INTO entry_span (log_id, span, n_full, n_entries, stamp, n_bundles, n_bytes)
    VALUES (new.log_id, new.tile_index / 256, new.width = 256, new.width, random(), 1, new.n_bytes)
    ON CONFLICT DO UPDATE SET n_full = n_full + excluded.n_full,
        n_entries = n_entries + excluded.n_entries, stamp = excluded.stamp,
        n_bundles = n_bundles + 1, n_bytes = n_bytes + excluded.n_bytes;
END;

CREATE TRIGGER entry_bundle_changed AFTER UPDATE ON entry_bundle
BEGIN
    UPDATE entry_span SET n_full = n_full + (new.width = 256) - (old.width = 256),
        n_entries = n_entries + new.width - old.width, stamp = random(),
        n_bytes = n_bytes + new.n_bytes - old.n_bytes
    WHERE log_id = new.log_id AND span = new.tile_index / 256;
END;

CREATE TRIGGER entry_bundle_went AFTER DELETE ON entry_bundle
BEGIN
    UPDATE entry_span SET n_full = n_full - (old.width = 256), n_entries = n_entries - old.width,
        stamp = random(), n_bundles = n_bundles - 1, n_bytes = n_bytes - old.n_bytes
    WHERE log_id = old.log_id AND span = old.tile_index / 256;
END;

UPDATE entry_span SET (n_bundles, n_bytes) = (
    SELECT count(*), coalesce(sum(n_bytes), 0) FROM entry_bundle AS e
    WHERE e.log_id = entry_span.log_id AND e.tile_index BETWEEN span * 256 AND span * 256 + 255
);
