"""Give a Sigstore bundle today's proof from local tiles (SPEC.md section 4, prove --upgrade).

Only the inclusion proof changes; signature, certificate and stamps stay as they came.
"""

from __future__ import annotations

import json

from appliance.errors import IncompleteError, ProofError
from appliance.jobs.prove import prove_inclusion
from appliance.rekor.transparency_log_entry import (
    InclusionProof,
    TransparencyLogEntry,
    format_log_entry,
)
from appliance.sigstore.sigstore_bundle import parse_sigstore_bundle
from appliance.store.mirror import Mirror
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.proof import root_from_inclusion
from appliance.value import replaced


def upgrade_bundle(mirror: Mirror, raw: bytes) -> tuple[bytes, InclusionProof]:
    """Return the Sigstore bundle `raw` with a fresh inclusion proof, and that proof.

    Raises IncompleteError if the bundle gives no place in a tree or the mirror does not
    reach it, ProofError if our tree holds another entry there.
    """
    entry = parse_sigstore_bundle(raw).log_entry
    if entry is None or entry.inclusion_proof is None:
        raise IncompleteError(
            "the Sigstore bundle does not say where in a tree its entry is",
            reason="no-inclusion-proof",
            next_step="name the entry: attestor prove --origin O --index N",
        )
    fresh = fresh_proof(mirror, entry)
    document = json.loads(raw)  # parsed strictly above
    material = document["verificationMaterial"]
    material["tlogEntries"] = [format_log_entry(replaced(entry, inclusion_proof=fresh))]
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(), fresh


def fresh_proof(mirror: Mirror, entry: TransparencyLogEntry) -> InclusionProof:
    """Prove an entry under our newest checkpoint that has tiles; raises as upgrade_bundle does."""
    if entry.inclusion_proof is None:
        raise ValueError("an entry without a place in a tree")
    index = entry.inclusion_proof.entry_index
    proof = prove_inclusion(mirror, index)
    signed = open_checkpoint(proof.note, mirror.log.keys, mirror.log.origin)
    leaf = leaf_hash(entry.canonicalized_body)
    root = root_from_inclusion(index, signed.head.tree_size, leaf, proof.hashes)
    if root != signed.head.root_hash:
        raise ProofError(
            f"{mirror.log.origin}: our tree holds another entry at {index} than the bundle",
            reason="other-entry",
            next_step="verify the Sigstore bundle: 'attestor verify' says whose fault it is",
        )
    return InclusionProof(
        index, signed.head.root_hash, signed.head.tree_size, proof.hashes, proof.note.decode()
    )
