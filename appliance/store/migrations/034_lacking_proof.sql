-- Accepted sizes of logs without tiles whose proof to the newest may not be here: they were accepted
-- before proofs were kept. Syncs fetch what is missing, and take off what is here.
CREATE TABLE lacking_proof (
    log_id    INTEGER NOT NULL,
    tree_size INTEGER NOT NULL,
    PRIMARY KEY (log_id, tree_size),
    FOREIGN KEY (log_id, tree_size) REFERENCES checkpoint (log_id, tree_size) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

INSERT INTO lacking_proof
SELECT log_id, tree_size FROM checkpoint JOIN log ON log.id = log_id
WHERE api_version = 1 AND tree_size > 0;
