-- How many entries of a window are here of each 256 in a row, so that an index and an export know
-- what changed without reading them. Kept by triggers: whoever adds or removes an entry changes its
-- row in the same transaction.
CREATE TABLE window_tile (
    log_id     INTEGER NOT NULL REFERENCES log (id),
    tile_index INTEGER NOT NULL CHECK (tile_index >= 0),               -- entry_index / 256
    n_entries  INTEGER NOT NULL CHECK (n_entries BETWEEN 0 AND 256),
    stamp      INTEGER NOT NULL,                                       -- another after each change
    PRIMARY KEY (log_id, tile_index)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entry_window_came AFTER INSERT ON entry_window
BEGIN
    INSERT INTO window_tile VALUES (new.log_id, new.entry_index / 256, 1, random())
    ON CONFLICT DO UPDATE SET n_entries = n_entries + 1, stamp = excluded.stamp;
END;

CREATE TRIGGER entry_window_changed AFTER UPDATE ON entry_window
BEGIN
    UPDATE window_tile SET stamp = random()
    WHERE log_id = new.log_id AND tile_index = new.entry_index / 256;
END;

CREATE TRIGGER entry_window_went AFTER DELETE ON entry_window
BEGIN
    UPDATE window_tile SET n_entries = n_entries - 1, stamp = random()
    WHERE log_id = old.log_id AND tile_index = old.entry_index / 256;
END;

INSERT INTO window_tile
SELECT log_id, entry_index / 256, count(*), random() FROM entry_window
GROUP BY log_id, entry_index / 256;
