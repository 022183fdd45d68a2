"""What somebody who logged something gets back: the entry with its proof (WIRE.md 5.4).

On its own it is the answer of a Rekor v2 server; together with the request it makes a
Sigstore bundle that clients verify offline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.jobs.prove import prove_inclusion
from appliance.rekor.entry import Digest
from appliance.rekor.request import HashedRekordRequest
from appliance.rekor.signing_algorithms import BY_KEY_DETAILS
from appliance.rekor.transparency_log_entry import InclusionProof, TransparencyLogEntry
from appliance.sigstore.bundle_making import finish_bundle, unfinished_bundle
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.store.mirror import Mirror
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.merkle import Hash
from appliance.tlog.tile import WIDTH, EntryBundle

KIND: Final = "hashedrekord"
VERSION: Final = "0.0.2"


def logged_entry(
    entry_index: int, body: bytes, checkpoint: SignedCheckpoint, hashes: Sequence[Hash]
) -> TransparencyLogEntry:
    """Join a logged body and its inclusion proof under `checkpoint`."""
    proof = InclusionProof(
        entry_index,
        checkpoint.head.root_hash,
        checkpoint.head.tree_size,
        tuple(hashes),
        checkpoint.note.decode(),
    )
    log_id = checkpoint.signers[0].log_id
    return TransparencyLogEntry(entry_index, log_id, KIND, VERSION, body, inclusion_proof=proof)


def stored_entry(mirror: Mirror, entry_index: int) -> TransparencyLogEntry:
    """Read a logged entry back, with a fresh proof; raises as prove_inclusion does."""
    proof = prove_inclusion(mirror, entry_index)
    checkpoint = open_checkpoint(proof.note, mirror.log.keys, mirror.log.origin)
    index, position = divmod(entry_index, WIDTH)
    bundle = EntryBundle(index, min(WIDTH, checkpoint.head.tree_size - index * WIDTH))
    entries = parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)
    return logged_entry(entry_index, entries[position], checkpoint, proof.hashes)


def sigstore_bundle(entry: TransparencyLogEntry, request: HashedRekordRequest) -> bytes:
    """Make the Sigstore bundle of a logged request.

    It holds no timestamp; a certificate's short life must be proven by one (RFC 3161).
    """
    algorithm = BY_KEY_DETAILS[request.verifier.key_details].digest
    content = MessageSignature(request.signature, Digest(algorithm, request.digest))
    return finish_bundle(unfinished_bundle(content, request.verifier), entry)
