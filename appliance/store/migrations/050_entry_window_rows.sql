-- Entries of a window lie in rows that several of fit into a page. In a table without rowid whatever
-- has more than a quarter of a page takes a page of its own, and most entries have.
ALTER TABLE entry_window RENAME TO entry_window_by_page;

-- Entries of a log that serves no entry bundles, fetched one window at a time. Each is proven: its
-- leaf hash is in proven_range.
CREATE TABLE entry_window (
    log_id      INTEGER NOT NULL REFERENCES log (id),
    entry_index INTEGER NOT NULL CHECK (entry_index >= 0),  -- within its tree
    body        BLOB NOT NULL,                              -- the entry, one zstd frame
    PRIMARY KEY (log_id, entry_index)
) STRICT;

INSERT INTO entry_window SELECT * FROM entry_window_by_page ORDER BY log_id, entry_index;
DROP TABLE entry_window_by_page;

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
