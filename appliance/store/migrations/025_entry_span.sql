-- What is stored of 256 entry bundles in a row (65,536 entries), so that nobody has to look at
-- each to say what is here. Kept by triggers.
CREATE TABLE entry_span (
    log_id    INTEGER NOT NULL REFERENCES log (id),
    span      INTEGER NOT NULL CHECK (span >= 0),           -- tile_index / 256
    n_full    INTEGER NOT NULL CHECK (n_full BETWEEN 0 AND 256),  -- entry bundles of 256 entries
    n_entries INTEGER NOT NULL CHECK (n_entries >= 0),      -- in all of its entry bundles
    stamp     INTEGER NOT NULL,  -- random, another one after each change: what was made from these
                                 -- very entry bundles names it, also after a restore
    PRIMARY KEY (log_id, span)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entry_bundle_came AFTER INSERT ON entry_bundle
BEGIN
    INSERT INTO entry_span
    SELECT new.log_id, new.tile_index / 256, coalesce(sum(width = 256), 0), coalesce(sum(width), 0), random()
    FROM entry_bundle WHERE log_id = new.log_id AND tile_index BETWEEN new.tile_index / 256 * 256 AND new.tile_index / 256 * 256 + 255
    ON CONFLICT DO UPDATE SET n_full = excluded.n_full, n_entries = excluded.n_entries, stamp = excluded.stamp;
END;

CREATE TRIGGER entry_bundle_changed AFTER UPDATE ON entry_bundle
BEGIN
    UPDATE entry_span SET (n_full, n_entries, stamp) = (
        SELECT coalesce(sum(width = 256), 0), coalesce(sum(width), 0), random()
        FROM entry_bundle WHERE log_id = new.log_id AND tile_index BETWEEN new.tile_index / 256 * 256 AND new.tile_index / 256 * 256 + 255
    ) WHERE log_id = new.log_id AND span = new.tile_index / 256;
END;

CREATE TRIGGER entry_bundle_went AFTER DELETE ON entry_bundle
BEGIN
    UPDATE entry_span SET (n_full, n_entries, stamp) = (
        SELECT coalesce(sum(width = 256), 0), coalesce(sum(width), 0), random()
        FROM entry_bundle WHERE log_id = old.log_id AND tile_index BETWEEN old.tile_index / 256 * 256 AND old.tile_index / 256 * 256 + 255
    ) WHERE log_id = old.log_id AND span = old.tile_index / 256;
END;

INSERT INTO entry_span
SELECT log_id, tile_index / 256, sum(width = 256), sum(width), random() FROM entry_bundle GROUP BY log_id, tile_index / 256;
