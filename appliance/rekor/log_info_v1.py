"""What a Rekor v1 instance says of itself: its trees, and proofs between their sizes.

An instance has one tree that grows (the active one) and those before it (inactive shards),
each with an id and a signed head. Nothing is verified here; the unsigned copies of size and
root beside a signed head, and the `rootHash` beside a proof (that of the tree as it is now,
whatever was asked for), are not even read.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.errors import MalformedError
from appliance.rekor.protojson import Message, top_message
from appliance.tlog.merkle import Hash
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAX_INFO_BYTES: Final = 1024 * 1024
MAX_PROOF_BYTES: Final = 64 * 1024
MAX_SHARDS: Final = 256
MAX_CONSISTENCY_HASHES: Final = 128
_TREE_ID: Final = re.compile("[1-9][0-9]{0,19}")
_HASH: Final = re.compile("[0-9a-f]{64}")


@frozen
class TreeInfo:
    """One tree of an instance, as it says."""

    tree_id: str  # decimal
    note: bytes  # the signed tree head


@frozen
class LogInfo:
    """The trees of an instance."""

    active: TreeInfo
    inactive: tuple[TreeInfo, ...]  # oldest first

    @property
    def trees(self) -> tuple[TreeInfo, ...]:
        """All of them, oldest first."""
        return (*self.inactive, self.active)


def parse_log_info(raw: bytes) -> LogInfo:
    """Parse the answer to GET /api/v1/log; raises MalformedError or LimitError."""
    info = top_message(parse_json(raw, "log info", MAX_INFO_BYTES), "log info")
    shards = info.get("inactiveShards")
    shards = [] if shards is None else shards
    if not isinstance(shards, list) or len(shards) > MAX_SHARDS:
        raise MalformedError(f"log info: expected at most {MAX_SHARDS} inactiveShards")
    inactive = tuple(
        _tree(top_message(shard, f"inactiveShards[{number}]"))
        for number, shard in enumerate(shards)
    )
    found = LogInfo(_tree(info), inactive)
    if len({tree.tree_id for tree in found.trees}) != len(found.trees):
        raise MalformedError("log info: one tree is named twice")
    return found


def parse_consistency(raw: bytes) -> tuple[Hash, ...]:
    """Parse the answer to GET /api/v1/log/proof; raises MalformedError or LimitError."""
    proof = top_message(parse_json(raw, "consistency proof", MAX_PROOF_BYTES), "proof")
    hashes = proof.get("hashes")
    hashes = [] if hashes is None else hashes
    if not isinstance(hashes, list) or len(hashes) > MAX_CONSISTENCY_HASHES:
        raise MalformedError(f"consistency proof: expected at most {MAX_CONSISTENCY_HASHES} hashes")
    for one in hashes:
        if not isinstance(one, str) or not _HASH.fullmatch(one):
            raise MalformedError(f"consistency proof: expected 64 hex digits, got {one!r:.80}")
    return tuple(Hash(bytes.fromhex(one)) for one in hashes)


def _tree(tree: Message) -> TreeInfo:
    tree_id = tree.required_text("treeID")
    if not _TREE_ID.fullmatch(tree_id):
        raise MalformedError(f"{tree.path}: expected a decimal treeID, got {tree_id[:80]!r}")
    return TreeInfo(tree_id, tree.required_text("signedTreeHead").encode())
