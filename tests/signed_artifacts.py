"""Real artifacts, really signed and really logged in a SimulatedLog, as Sigstore bundles."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.jobs.mirror.prove import logged_entry, sigstore_bundle
from appliance.rekor.request import HashedRekordRequest
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.tlog.checkpoint import open_checkpoint
from tests.simulator import SimulatedLog

# One key for the whole run: P-256 signatures are random anyway.
SIGNER = ec.generate_private_key(ec.SECP256R1())
SIGNER_SPKI = SIGNER.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
SIGNER_PEM = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign_request(artifact: bytes) -> HashedRekordRequest:
    """Sign an artifact and make the request that logs it."""
    signature = SIGNER.sign(artifact, ec.ECDSA(hashes.SHA256()))
    verifier = VerifierMaterial(
        SIGNER_SPKI, is_certificate=False, key_details="PKIX_ECDSA_P256_SHA_256"
    )
    return HashedRekordRequest(sha256(artifact).digest(), signature, verifier)


def log_request(log: SimulatedLog, request: HashedRekordRequest) -> int:
    """Log a request and return its entry index."""
    index = log.head.tree_size
    log.grow([request.canonical_body])
    return index


def bundle_of(log: SimulatedLog, request: HashedRekordRequest, entry_index: int) -> bytes:
    """Make the Sigstore bundle of a logged request under the log's present checkpoint."""
    checkpoint = open_checkpoint(log.checkpoint(), [log.key], log.origin)
    proof = log.inclusion_proof(entry_index)
    entry = logged_entry(entry_index, request.canonical_body, checkpoint, proof)
    return sigstore_bundle(entry, request)
