"""What a log is now, in one object (GET /api/v2/log), with the names Rekor v1 has for it."""

from __future__ import annotations

import json

from appliance.serve.answers import NOT_FOUND, NOW, Answer, error_answer
from appliance.store.mirror.mirror import Mirror


def answer_log_info(mirror: Mirror) -> Answer:
    """Answer with treeSize (a number), rootHash (64 hex digits) and signedTreeHead (the note).

    Size and root are copies of what the note says: only the note is signed. Raises StoreError
    if what should be there cannot be read.
    """
    published = mirror.history.mirror_checkpoint()
    if published is None:
        return error_answer(NOT_FOUND, "Not Found")
    head = published.head
    described = {
        "treeSize": head.tree_size,
        "rootHash": head.root_hash.hex(),
        "signedTreeHead": mirror.history.newest_note(head.tree_size).decode(),
    }
    return Answer(200, json.dumps(described).encode(), headers=NOW)
