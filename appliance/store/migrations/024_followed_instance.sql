-- A backend can follow an instance of Rekor v1 from tree to tree: this is the host name that all
-- its trees sign under, and log_id is the tree it stands at. NULL: the backend is of one log.
ALTER TABLE backend ADD COLUMN follows TEXT;
