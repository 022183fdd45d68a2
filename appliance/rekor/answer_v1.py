"""What a Rekor v1 log answers: one entry under its id (docs/rekor.md).

Indices come in two kinds: the global one over all shards stands for the entry, the one
inside its tree goes with the proof. Nothing is verified here.
"""

from __future__ import annotations

import re
from typing import Any, Final

from appliance.errors import MalformedError
from appliance.rekor.entry import parse_entry
from appliance.rekor.protojson import Message, top_message
from appliance.rekor.transparency_log_entry import (
    MAX_ANSWER_BYTES,
    MAX_PROOF_HASHES,
    InclusionProof,
    TransparencyLogEntry,
)
from appliance.tlog.merkle import Hash, as_hash, leaf_hash
from appliance.tlog.strict_json import parse_json

HASH_DIGITS: Final = 64
_HASH: Final = re.compile("[0-9a-f]{64}")
_ENTRY_ID: Final = re.compile("([0-9a-f]{16})?[0-9a-f]{64}")


def parse_v1_answer(raw: bytes) -> TransparencyLogEntry:
    """Parse the answer to a POST, or to a GET by id; raises MalformedError or LimitError."""
    return _entry(parse_json(raw, "log entry answer", MAX_ANSWER_BYTES))


def parse_v1_answers(raw: bytes) -> tuple[TransparencyLogEntry, ...]:
    """Parse the answer to a search for several entries; raises MalformedError or LimitError."""
    answer = parse_json(raw, "log entries", MAX_ANSWER_BYTES)
    if not isinstance(answer, list):
        raise MalformedError("log entries: expected a list of them")
    return tuple(map(_entry, answer))


def _entry(answer: Any) -> TransparencyLogEntry:
    if not isinstance(answer, dict) or len(answer) != 1:
        raise MalformedError("log entry answer: expected one entry under its id")
    [(id_, value)] = answer.items()
    if not _ENTRY_ID.fullmatch(id_):
        raise MalformedError(f"log entry answer: {id_[:100]!r} is no entry id")
    entry = top_message(value, "entry")
    verification = entry.required_message("verification")
    body = entry.required_binary("body")
    said = parse_entry(body)
    if bytes.fromhex(id_[-HASH_DIGITS:]) != leaf_hash(body):
        raise MalformedError(f"log entry answer: {id_} is not the id of the entry under it")
    promise = verification.binary("signedEntryTimestamp")
    return TransparencyLogEntry(
        log_index=entry.integer("logIndex"),
        log_id=_hex_hash(entry, "logID"),
        kind=said.kind,
        version=said.version,
        canonicalized_body=body,
        integrated_time=entry.integer("integratedTime"),
        inclusion_promise=promise or None,
        inclusion_proof=_proof(verification.required_message("inclusionProof")),
    )


def parse_entry_id(text: str) -> str:
    """Return the entry id at the end of a Location or a message; raises MalformedError."""
    id_ = text.rstrip("/").rpartition("/")[2].rpartition(" ")[2]
    if not _ENTRY_ID.fullmatch(id_):
        raise MalformedError(
            f"the log has this entry (409), expected its id, got {text[:200]!r}",
            reason="duplicate-without-index",
        )
    return id_


def _proof(proof: Message) -> InclusionProof:
    hashes = proof.get("hashes")
    if not isinstance(hashes, list) or len(hashes) > MAX_PROOF_HASHES:
        raise MalformedError(f"{proof.path}.hashes: expected at most {MAX_PROOF_HASHES} of them")
    return InclusionProof(
        entry_index=proof.integer("logIndex"),
        root_hash=Hash(_hex_hash(proof, "rootHash")),
        tree_size=proof.integer("treeSize"),
        hashes=tuple(as_hash(_unhex(one, f"{proof.path}.hashes")) for one in hashes),
        checkpoint=proof.text("checkpoint"),
    )


def _hex_hash(message: Message, name: str) -> bytes:
    return _unhex(message.required_text(name), f"{message.path}.{name}")


def _unhex(text: object, path: str) -> bytes:
    if not isinstance(text, str) or not _HASH.fullmatch(text):
        raise MalformedError(f"{path}: expected 64 hex digits, got {text!r:.80}")
    return bytes.fromhex(text)
