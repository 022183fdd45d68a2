"""Digests that come to a private log without a signature: signed here, answered as by Rekor v1.

The entry that is logged is an ordinary one (hashedrekord 0.0.2) by a key of this home's that
signs nothing else. Whoever reads it learns that this log was shown the digest, and no more: the
key vouches for nobody. The signature is deterministic (RFC 6979), so a digest that comes
again makes the same entry, which the log has already.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Final

from appliance.errors import RefusedError
from appliance.rekor.bare_digest import parse_bare_digest
from appliance.rekor.request import HashedRekordRequest, build_request
from appliance.rekor.transparency_log_entry import InclusionProof, TransparencyLogEntry
from appliance.serve.answers import Answer
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.publisher_key import PublisherKey

_UNSIGNED: Final = (
    "a digest without a signature, and this log signs none for others; its operator can let it:"
    " attestor log serve --sign-digests KEY"
)


def signed_request(raw: bytes, key: PublisherKey | None) -> HashedRekordRequest:
    """Return the request for a bare digest, signed by `key`.

    Raises as parse_bare_digest does, and RefusedError (unsigned) if there is no key.
    """
    digest = parse_bare_digest(raw)
    if key is None:
        raise RefusedError(f"request: {_UNSIGNED}", reason="unsigned")
    return build_request(digest, key.sign_digest(digest, deterministic=True), key.spki)


def v1_answer(raw: bytes, entry: TransparencyLogEntry) -> Answer:
    """Answer 201 as Rekor v1 does, by the leaf hash.

    `body` is what was submitted, because that is what its clients look at; what was logged and
    what the proof is of is `canonicalizedBody`.
    """
    described = {
        "logIndex": entry.log_index,
        "logID": entry.log_id.hex(),
        "integratedTime": entry.integrated_time,
        "body": _base64(raw),
        "canonicalizedBody": _base64(entry.canonicalized_body),
        "verification": {"inclusionProof": _proof(entry.inclusion_proof)},
    }
    leaf = leaf_hash(entry.canonicalized_body).hex()
    return Answer(201, json.dumps({leaf: described}).encode())


def _proof(proof: InclusionProof | None) -> dict[str, object]:
    if proof is None:
        raise ValueError("a logged entry has a proof")
    return {
        "logIndex": proof.entry_index,
        "treeSize": proof.tree_size,
        "rootHash": proof.root_hash.hex(),
        "hashes": [one.hex() for one in proof.hashes],
        "checkpoint": proof.checkpoint,
    }


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
