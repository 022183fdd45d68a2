"""The answers to the entries of one batch: what they share is made once for all of them.

They stand under one checkpoint, and their proofs share nearly all of their hashes: the tree to
the left of the batch, and the inner nodes of the batch itself.
"""

from __future__ import annotations

import json
from base64 import b64encode

from appliance.jobs.mirror.prove import logged_entry
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.merkle import Hash
from appliance.tlog.proof import inclusion_plan, range_root
from appliance.tlog.tile_tree import TileTree


class BatchAnswers:
    """What clients are answered whose entries one checkpoint was signed for."""

    def __init__(self, checkpoint: SignedCheckpoint, tree: TileTree) -> None:
        """Make it; `tree` is the checkpoint's, with all tiles that prove the entries."""
        self._checkpoint = checkpoint
        self._tree = tree
        self._roots: dict[range, tuple[Hash, str]] = {}  # by leaves; each with its base64, quoted
        self._parts: tuple[str, str] | None = None  # of the answer, before and after the hashes

    def entry(self, entry_index: int, body: bytes) -> TransparencyLogEntry:
        """Return a logged entry with its proof."""
        hashes = [root for root, _ in self._proof(entry_index)]
        return logged_entry(entry_index, body, self._checkpoint, hashes)

    def json(self, entry_index: int, body: bytes) -> bytes:
        """Return what `entry(…).json` is, byte for byte."""
        if self._parts is None:
            self._parts = self._cut(entry_index)
        before, after = self._parts
        hashes = ",".join([text for _, text in self._proof(entry_index)])
        text = f'{before % (entry_index, entry_index)}{hashes}{after}"{_base64(body)}"}}'
        return text.encode("ascii")

    def _proof(self, entry_index: int) -> list[tuple[Hash, str]]:
        roots = self._roots
        proof = []
        for leaves in inclusion_plan(entry_index, self._tree.head.tree_size):
            found = roots.get(leaves)
            if found is None:
                root = range_root(leaves, self._tree.node)
                found = roots[leaves] = root, f'"{_base64(root)}"'
            proof.append(found)
        return proof

    def _cut(self, entry_index: int) -> tuple[str, str]:
        """Cut an answer into what stands before its indices' hashes and after them."""
        answer = json.loads(self.entry(entry_index, b"").json)
        answer["logIndex"] = answer["inclusionProof"]["logIndex"] = "%d"
        answer["inclusionProof"]["hashes"] = []
        del answer["canonicalizedBody"]
        text = json.dumps(answer, separators=(",", ":")).removesuffix("}")
        before, found, after = text.partition('"hashes":[')
        return before + found, after + ',"canonicalizedBody":'


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
