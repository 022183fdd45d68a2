"""TransparencyLogEntry: what a log answers and what a Sigstore bundle carries.

Parsing believes nothing: size, root and index are unauthenticated copies until the
inclusion proof and the checkpoint are verified.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

from appliance.errors import MalformedError
from appliance.rekor.protojson import Message, top_message
from appliance.tlog.merkle import Hash, as_hash
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAX_PROOF_HASHES: Final = 64
MAX_ANSWER_BYTES: Final = 10 * 1024 * 1024
LOG_ID_BYTES: Final = 32


@frozen
class InclusionProof:
    """A Merkle proof as it came, with the checkpoint it leads to."""

    entry_index: int  # within the tree (v1: not the global index)
    root_hash: Hash
    tree_size: int
    hashes: tuple[Hash, ...]  # leaf sibling first
    checkpoint: str  # signed note; empty in old bundles


@frozen
class TransparencyLogEntry:
    """A log entry and the evidence for it."""

    log_index: int  # v1: global over all shards; v2: equal to the proof's
    log_id: bytes  # 32 bytes
    kind: str
    version: str
    canonicalized_body: bytes
    integrated_time: int = 0  # Unix seconds; 0 for v2, which has none
    inclusion_promise: bytes | None = None  # signed entry timestamp, v1 only
    inclusion_proof: InclusionProof | None = None

    @property
    def json(self) -> bytes:
        """The answer to a POST, unset fields written out as Rekor's server does."""
        unset = {"integratedTime": "0", "inclusionPromise": None}
        return json.dumps({**unset, **format_log_entry(self)}, separators=(",", ":")).encode()


def parse_log_entry(raw: bytes) -> TransparencyLogEntry:
    """Parse a log's answer; raises MalformedError or LimitError."""
    value = parse_json(raw, "log entry answer", MAX_ANSWER_BYTES)
    return read_log_entry(top_message(value, "logEntry", lenient=True))


def read_log_entry(entry: Message) -> TransparencyLogEntry:
    """Read a log entry message; raises MalformedError or LimitError."""
    log_id = entry.required_message("logId").required_binary("keyId")
    if len(log_id) != LOG_ID_BYTES:
        raise MalformedError(
            f"{entry.path}.logId.keyId: expected {LOG_ID_BYTES} bytes, got {len(log_id)}"
        )
    kind_version = entry.required_message("kindVersion")
    promise = entry.message("inclusionPromise")
    proof = entry.message("inclusionProof")
    return TransparencyLogEntry(
        log_index=entry.integer("logIndex"),
        log_id=log_id,
        kind=kind_version.required_text("kind"),
        version=kind_version.required_text("version"),
        canonicalized_body=entry.required_binary("canonicalizedBody"),
        integrated_time=entry.integer("integratedTime"),
        inclusion_promise=None
        if promise is None
        else promise.required_binary("signedEntryTimestamp"),
        inclusion_proof=None if proof is None else _read_proof(proof),
    )


def _read_proof(proof: Message) -> InclusionProof:
    checkpoint = proof.message("checkpoint")
    return InclusionProof(
        entry_index=proof.integer("logIndex"),
        root_hash=as_hash(proof.binary("rootHash")),
        tree_size=proof.integer("treeSize"),
        hashes=tuple(map(as_hash, proof.binaries("hashes", MAX_PROOF_HASHES))),
        checkpoint=checkpoint.text("envelope") if checkpoint is not None else "",
    )


def format_log_entry(entry: TransparencyLogEntry) -> dict[str, Any]:
    """Format an entry as a bundle holds it: integers as strings, unset fields left out."""
    fields: dict[str, Any] = {
        "logIndex": str(entry.log_index),
        "logId": {"keyId": _base64(entry.log_id)},
        "kindVersion": {"kind": entry.kind, "version": entry.version},
    }
    if entry.integrated_time:
        fields["integratedTime"] = str(entry.integrated_time)
    if entry.inclusion_promise is not None:
        fields["inclusionPromise"] = {"signedEntryTimestamp": _base64(entry.inclusion_promise)}
    if entry.inclusion_proof is not None:
        fields["inclusionProof"] = _format_proof(entry.inclusion_proof)
    return {**fields, "canonicalizedBody": _base64(entry.canonicalized_body)}


def _format_proof(proof: InclusionProof) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "logIndex": str(proof.entry_index),
        "rootHash": _base64(proof.root_hash),
        "treeSize": str(proof.tree_size),
        "hashes": [_base64(one) for one in proof.hashes],  # clients want it even if empty
    }
    if proof.checkpoint:
        fields["checkpoint"] = {"envelope": proof.checkpoint}
    return fields


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
