"""Two Rekor logs in memory: v2 (Ed25519, no clock) and v1 (P-256, promises with a time)."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.rekor.set import set_payload
from appliance.rekor.transparency_log_entry import InclusionProof, TransparencyLogEntry
from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.merkle import Hash, TreeHead, leaf_hash, node_hash
from appliance.tlog.note import NoteSignature, SigningKey, add_signatures
from appliance.tlog.proof import NodeId, build_proof, inclusion_plan, range_root
from appliance.value import replaced
from tests.pki.authorities import NOON, new_key, spki

V2_ORIGIN = "log.example"
V1_HOST = "rekor.example"
V1_ORIGIN = f"{V1_HOST} - 4242"
EARLIER_TREES = 1000  # leaves in trees before this one, for v1's global index


def _node(leaves: list[Hash], node: NodeId) -> Hash:
    if node.height == 0:
        return leaves[node.index]
    left, right = (
        NodeId(node.height - 1, 2 * node.index),
        NodeId(node.height - 1, 2 * node.index + 1),
    )
    return node_hash(_node(leaves, left), _node(leaves, right))


@dataclass
class Tree:
    """Leaves, their head, and proofs."""

    bodies: list[bytes] = field(default_factory=lambda: [b"an earlier entry", b"another", b"third"])

    def head(self) -> TreeHead:
        """Return size and root."""
        leaves = [leaf_hash(body) for body in self.bodies]
        root = range_root(range(len(leaves)), lambda node: _node(leaves, node))
        return TreeHead(len(leaves), root)

    def proof(self, index: int) -> tuple[Hash, ...]:
        """Return the inclusion proof of one leaf."""
        leaves = [leaf_hash(body) for body in self.bodies]
        plan = inclusion_plan(index, len(leaves))
        return build_proof(plan, lambda node: _node(leaves, node))


@dataclass
class V2Log:
    """A Rekor v2 log."""

    origin: str = V2_ORIGIN
    seed: bytes = b"\x07" * 32
    tree: Tree = field(default_factory=Tree)

    @property
    def key(self) -> SigningKey:
        """The key that signs checkpoints."""
        return SigningKey(self.origin, self.seed)

    @property
    def log_id(self) -> bytes:
        """32 bytes, as in a trusted root."""
        return self.key.verifier.log_id

    def add(self, body: bytes, kind: tuple[str, str] | None = None) -> TransparencyLogEntry:
        """Log a body; the entry leads to a checkpoint two leaves further on.

        `kind` is the kind and version of a body that is not JSON.
        """
        index = len(self.tree.bodies)
        self.tree.bodies += [body, b"a later entry", b"and another"]
        head = self.tree.head()
        text = str(Checkpoint(self.origin, head))
        note = add_signatures(text, [self.key.sign(text)])
        if kind is None:
            fields = json.loads(body)
            kind = (fields["kind"], fields["apiVersion"])
        return TransparencyLogEntry(
            log_index=index,
            log_id=self.log_id,
            kind=kind[0],
            version=kind[1],
            canonicalized_body=body,
            inclusion_proof=InclusionProof(
                index, head.root_hash, head.tree_size, self.tree.proof(index), note.decode()
            ),
        )


@dataclass
class V1Log:
    """A Rekor v1 log: one tree among several, with signed entry timestamps."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    origin: str = V1_ORIGIN
    signature_name: str = V1_HOST
    tree: Tree = field(default_factory=Tree)

    @property
    def log_id(self) -> bytes:
        """SHA-256 of the key."""
        return sha256(spki(self.key)).digest()

    def note(self, text: str, name: str | None = None) -> str:
        """Sign a checkpoint's text."""
        signature = self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        line = NoteSignature(name or self.signature_name, self.log_id[:4], signature)
        return add_signatures(text, [line]).decode()

    def promise(self, entry: TransparencyLogEntry) -> TransparencyLogEntry:
        """Sign an entry's timestamp."""
        signature = self.key.sign(set_payload(entry), ec.ECDSA(hashes.SHA256()))
        return replaced(entry, inclusion_promise=signature)

    def add(self, body: bytes, time: datetime = NOON) -> TransparencyLogEntry:
        """Log a body at a time of the log's clock."""
        index = len(self.tree.bodies)
        self.tree.bodies += [body, b"a later entry"]
        head = self.tree.head()
        fields = json.loads(body)
        entry = TransparencyLogEntry(
            log_index=EARLIER_TREES + index,
            log_id=self.log_id,
            kind=fields["kind"],
            version=fields["apiVersion"],
            canonicalized_body=body,
            integrated_time=int(time.timestamp()),
            inclusion_proof=InclusionProof(
                index,
                head.root_hash,
                head.tree_size,
                self.tree.proof(index),
                self.note(str(Checkpoint(self.origin, head))),
            ),
        )
        return self.promise(entry)


def base64(raw: bytes) -> str:
    """Encode as JSON wants bytes."""
    return b64encode(raw).decode()


def log_json(
    base_url: str, log_id: bytes, key: bytes, details: str, start: str, end: str | None = None
) -> dict[str, Any]:
    """Return one tlogs or ctlogs element of a trusted root."""
    valid = {"start": start} if end is None else {"start": start, "end": end}
    return {
        "baseUrl": base_url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": base64(key), "keyDetails": details, "validFor": valid},
        "logId": {"keyId": base64(log_id)},
    }
