-- What the judgement of health needs: when whom was heard, what succeeded when, what time it is
-- at least. No column here is ever set to an older time, but by 'doctor --reset-clock'.

-- When the log itself last answered: our clock at a sync, after an import the exporter's claim.
ALTER TABLE last_sync ADD COLUMN answered_at INTEGER;
UPDATE last_sync SET answered_at = at;

-- Unix seconds, last valid checkpoint
ALTER TABLE backend_run ADD COLUMN answered_at INTEGER;
-- Unix seconds, last sync that left nothing to fetch
ALTER TABLE backend_run ADD COLUMN covered_at INTEGER;
-- Unix seconds, last sync that stored tiles or left nothing
ALTER TABLE backend_run ADD COLUMN moved_at INTEGER;
-- why the last sync failed; NULL: it did not
ALTER TABLE backend_run ADD COLUMN error TEXT;
-- Unix seconds; NULL: the last sync did not fail
ALTER TABLE backend_run ADD COLUMN failing_since INTEGER;
UPDATE backend_run SET answered_at = succeeded_at, covered_at = succeeded_at, moved_at = succeeded_at;
UPDATE backend_run SET failing_since = attempted_at WHERE failures > 0;

-- Unix seconds, last; NULL: never
ALTER TABLE command_run ADD COLUMN succeeded_at INTEGER;
-- Unix seconds; NULL: the last run did not fail
ALTER TABLE command_run ADD COLUMN failing_since INTEGER;
UPDATE command_run SET succeeded_at = ended_at WHERE exit_code = 0;
UPDATE command_run SET failing_since = ended_at WHERE exit_code <> 0;
-- Until now any run was recorded, whoever typed it.
DELETE FROM command_run WHERE command <> 'sync';

-- What time it is at least, and what proves it.
CREATE TABLE clock_floor (
    kind   TEXT PRIMARY KEY CHECK (kind IN ('record', 'signed')),  -- ours; somebody's signature
    at     INTEGER NOT NULL,          -- Unix seconds
    source TEXT NOT NULL              -- which record, whose signature
) STRICT, WITHOUT ROWID;
INSERT INTO clock_floor SELECT 'record', at, 'journal line ' || id FROM journal
 WHERE at = (SELECT max(at) FROM journal) ORDER BY id DESC LIMIT 1;
