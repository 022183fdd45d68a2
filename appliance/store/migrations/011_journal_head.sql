-- Where the journal ends. The chain shows that nothing inside it was changed or left out;
-- that its last lines were cut off, only somebody who remembers the end can tell.
CREATE TABLE journal_head (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    id     INTEGER NOT NULL,          -- of the last line
    digest BLOB NOT NULL CHECK (length(digest) = 32)  -- of the last line
) STRICT;

INSERT INTO journal_head SELECT 1, id, digest FROM journal ORDER BY id DESC LIMIT 1;

-- Who opens the database by hand shall not change history by mistake.
CREATE TRIGGER journal_is_not_changed BEFORE UPDATE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is only ever appended to');
END;

CREATE TRIGGER journal_is_not_deleted BEFORE DELETE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is only ever appended to');
END;
