-- An empty tree of a log that serves no tiles was taken for one whose tiles are all here, and what
-- came after it for lacking them.
UPDATE log SET mirror_size = NULL WHERE api_version = 1 AND mirror_size = 0;
