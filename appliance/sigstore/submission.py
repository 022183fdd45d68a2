"""What is submitted to a log: a signature that verified, as the request for Rekor v1 or v2.

A v2 log takes a DSSE envelope as a hashedrekord over its pre-authentication encoding
(docs/rekor.md): only digests leave. A v1 log gets the envelope itself. What a log would
refuse is refused here, before anything is stored.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from typing import Final

from appliance.errors import LimitError, MalformedError, SignatureError
from appliance.rekor.entry import Digest, Dsse, HashedRekord, parse_entry
from appliance.rekor.protojson import top_message
from appliance.rekor.request import (
    HashedRekordRequest,
    load_material_key,
    parse_request,
    verify_request,
)
from appliance.rekor.request_v1 import (
    DSSE,
    HASHEDREKORD,
    dsse_proposal,
    hashedrekord_proposal,
    parse_dsse_proposal,
)
from appliance.rekor.signing_algorithms import natural_algorithm, verify_digest_signature
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.sigstore.dsse import DsseEnvelope, read_envelope
from appliance.sigstore.signer import make_signer, verify_envelope_signature
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.tlog.entries import MAX_ENTRY_BYTES
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAX_PAYLOAD_BYTES: Final = 1024 * 1024  # of an envelope
MAX_STORED_BYTES: Final = 4 * MAX_PAYLOAD_BYTES  # base64 of base64, and the rest
REKOR_V1: Final = 1
REKOR_V2: Final = 2


@frozen
class Submission:
    """Something that was signed, and by whom. The submit_… makers below verify it."""

    content: MessageSignature | DsseEnvelope
    signed: Digest  # what the signature is over
    verifier: VerifierMaterial  # with its keyDetails
    envelope: str = ""  # of an envelope, as it was spelled

    def request(self, api_version: int) -> tuple[str, bytes]:
        """Return kind and bytes of what is posted; raises as verify_stored_request does."""
        if api_version == REKOR_V2:
            raw = HashedRekordRequest(self.signed.value, self.content.signature, self.verifier).json
            kind = HASHEDREKORD
        elif isinstance(self.content, DsseEnvelope):
            kind, raw = DSSE, dsse_proposal(self.envelope, self.verifier)
        else:
            kind = HASHEDREKORD
            raw = hashedrekord_proposal(self.signed, self.content.signature, self.verifier)
        verify_stored_request(kind, api_version, raw)
        return kind, raw


@frozen
class Claim:
    """What a log's entry has to say for a request to have been logged."""

    kind: str
    version: str
    data: Digest
    signature: bytes
    verifier: VerifierMaterial

    def check_body(self, body: bytes) -> None:
        """Raise SignatureError (reason entry-mismatch) unless the entry is of this request.

        Raises MalformedError if it is not an entry at all.
        """
        entry = parse_entry(body)
        same = (entry.kind, entry.version) == (self.kind, self.version)
        if same and isinstance(entry, HashedRekord | Dsse):
            data = entry.data if isinstance(entry, HashedRekord) else entry.payload
            same = data == self.data and any(
                signature.signature == self.signature
                and signature.verifier.same_key(
                    self.verifier.der, is_certificate=self.verifier.is_certificate
                )
                for signature in entry.signatures
            )
        if not same:
            raise SignatureError(
                f"the log answered with another entry ({entry.kind[:40]} {entry.version[:40]}) "
                f"than the {self.kind} of {self.data} that was sent",
                reason="entry-mismatch",
                next_step="do not trust this server; see what it is",
            )


def submit_message(message: MessageSignature, verifier: VerifierMaterial) -> Submission:
    """Verify a signature over a digest; raises VerificationError or RefusedError."""
    if message.digest is None:
        raise MalformedError(
            "the Sigstore bundle does not say what it is over",
            reason="no-digest",
            next_step="give the artifact as well: --artifact FILE",
        )
    key = load_material_key(verifier)
    algorithm = natural_algorithm(key)
    if message.digest.algorithm != algorithm.digest:
        raise MalformedError(
            f"message digest: expected {algorithm.digest} for a key of type {algorithm.key}, "
            f"got {message.digest.algorithm}",
            reason="digest-algorithm",
        )
    verify_digest_signature(key, message.digest.algorithm, message.digest.value, message.signature)
    return Submission(message, message.digest, _with_details(verifier, algorithm.key_details))


def submit_envelope(raw: bytes, verifier: VerifierMaterial) -> Submission:
    """Parse and verify a DSSE envelope, as JSON; raises VerificationError or RefusedError."""
    parsed = parse_json(raw, "DSSE envelope", MAX_STORED_BYTES)
    envelope = _limited(read_envelope(top_message(parsed, "envelope")))
    return _submit_envelope(envelope, raw.decode(), verifier)


def submit_bundled_envelope(envelope: DsseEnvelope, verifier: VerifierMaterial) -> Submission:
    """Verify the envelope of a Sigstore bundle; raises VerificationError or RefusedError."""
    signature = {"sig": _base64(envelope.signature), "keyid": envelope.key_id}
    spelled = {
        "payload": _base64(envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": [signature],
    }
    text = json.dumps(spelled, separators=(",", ":"), ensure_ascii=False)
    return _submit_envelope(_limited(envelope), text, verifier)


def verify_stored_request(kind: str, api_version: int, raw: bytes) -> Claim:
    """Verify a request as it lies in the queue; return what its entry has to say.

    Raises VerificationError if a log could not take it for good (malformed, bad-signature,
    entry-too-large, …), RefusedError for a key nobody here can use.
    """
    claim = read_stored_request(kind, api_version, raw)
    key = load_material_key(claim.verifier)
    if api_version == REKOR_V2:
        request = parse_request(raw)
        verify_request(request)
        if len(request.canonical_body) > MAX_ENTRY_BYTES:
            raise LimitError(
                f"a log entry has at most {MAX_ENTRY_BYTES} bytes, this would have"
                f" {len(request.canonical_body)}",
                reason="entry-too-large",
            )
    elif kind == DSSE:
        envelope = _limited(read_envelope(parse_dsse_proposal(raw, MAX_STORED_BYTES).envelope))
        signer = make_signer(claim.verifier.der, key, is_certificate=claim.verifier.is_certificate)
        verify_envelope_signature(envelope, signer)
    else:
        verify_digest_signature(key, claim.data.algorithm, claim.data.value, claim.signature)
    return claim


def read_stored_request(kind: str, api_version: int, raw: bytes) -> Claim:
    """Return what the entry of a request has to say; its signature is not verified.

    Raises MalformedError, or LimitError.
    """
    if (kind, api_version) == (HASHEDREKORD, REKOR_V2):
        request = parse_request(raw)
        algorithm = natural_algorithm(load_material_key(request.verifier)).digest
        data = Digest(algorithm, request.digest)
        return Claim(kind, "0.0.2", data, request.signature, request.verifier)
    if (kind, api_version) == (HASHEDREKORD, REKOR_V1):
        entry = parse_entry(raw)
        if not isinstance(entry, HashedRekord) or entry.version != "0.0.1":
            raise MalformedError(
                f"request: expected hashedrekord 0.0.1, got {entry.kind[:40]!r}"
                f" {entry.version[:40]!r}"
            )
        [signed] = entry.signatures
        return Claim(kind, "0.0.1", entry.data, signed.signature, signed.verifier)
    if (kind, api_version) == (DSSE, REKOR_V1):
        proposal = parse_dsse_proposal(raw, MAX_STORED_BYTES)
        envelope = read_envelope(proposal.envelope)
        payload = Digest("sha256", sha256(envelope.payload).digest())
        return Claim(kind, "0.0.1", payload, envelope.signature, proposal.verifier)
    raise MalformedError(f"request: no log takes {kind[:40]!r} in Rekor v{api_version}")


def _submit_envelope(
    envelope: DsseEnvelope, spelled: str, verifier: VerifierMaterial
) -> Submission:
    key = load_material_key(verifier)
    signer = make_signer(verifier.der, key, is_certificate=verifier.is_certificate)
    signed = verify_envelope_signature(envelope, signer)
    details = signer.algorithm.key_details
    return Submission(envelope, signed, _with_details(verifier, details), spelled)


def _limited(envelope: DsseEnvelope) -> DsseEnvelope:
    if len(envelope.payload) > MAX_PAYLOAD_BYTES:
        raise LimitError(
            f"DSSE payload: expected at most {MAX_PAYLOAD_BYTES} bytes, got"
            f" {len(envelope.payload)}",
            reason="payload-too-large",
            next_step="attest to a digest of it instead",
        )
    return envelope


def _with_details(verifier: VerifierMaterial, details: str) -> VerifierMaterial:
    return VerifierMaterial(verifier.der, verifier.is_certificate, details)


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
