-- The life of a log's key: since when it is pinned, and from where on it signs nothing that counts.

-- Unix seconds. NULL: before this was kept
ALTER TABLE log_key ADD COLUMN pinned_at INTEGER;

-- leaves of the tree that was accepted then. NULL: none, or not kept
ALTER TABLE log_key ADD COLUMN since_size INTEGER;

-- Unix seconds. NULL: in force
ALTER TABLE log_key ADD COLUMN retired_at INTEGER;

-- leaves of the largest tree that it may have signed. NULL: in force
ALTER TABLE log_key ADD COLUMN retired_size INTEGER;

ALTER TABLE log_key ADD COLUMN retired_reason TEXT NOT NULL DEFAULT '';
