"""The signer's key and the signature itself (docs/verification.md).

Which hash a signature is over follows from the key, except that many P-384 keys signed
SHA-256. A message digest in the bundle is a hint among those two, and must be right.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from appliance.errors import (
    DigestError,
    IncompleteError,
    MalformedError,
    SignatureError,
)
from appliance.rekor.ed25519 import challenge_prefix, check_signature_length, verify_hashed
from appliance.rekor.entry import Digest
from appliance.rekor.signing_algorithms import (
    SigningAlgorithm,
    natural_algorithm,
    verify_digest_signature,
)
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.dsse import DsseEnvelope
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.tlog.note_keys import check_ed25519_key
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


@frozen
class Signer:
    """Whose signature it has to be."""

    der: bytes  # the certificate, or SubjectPublicKeyInfo of a managed key
    is_certificate: bool
    key: PublicKeyTypes
    algorithm: SigningAlgorithm  # the natural one of the key

    @property
    def digests(self) -> tuple[str, ...]:
        """The hashes this key signs, the natural one first."""
        return tuple(dict.fromkeys((self.algorithm.digest, "sha256")))


def make_signer(der: bytes, key: PublicKeyTypes, *, is_certificate: bool) -> Signer:
    """Make a signer; raises RefusedError (unsupported-key) for a kind of key we cannot use."""
    return Signer(der, is_certificate, key, natural_algorithm(key))


def verify_message_signature(
    message: MessageSignature, artifact: ArtifactDigests, signer: Signer
) -> Digest:
    """Verify a signature over the artifact; return the digest it is over.

    Raises DigestError (artifact-digest) if the bundle is for another artifact,
    SignatureError (bad-signature), MalformedError (digest-algorithm) if the key does not
    sign that hash, IncompleteError (digest-algorithm) if we lack the digest.
    """
    hint = message.digest
    if hint is not None:
        if hint.algorithm not in signer.digests:
            raise MalformedError(
                f"message digest is {hint.algorithm}, expected "
                f"{' or '.join(signer.digests)} for a key of type {signer.algorithm.key}",
                reason="digest-algorithm",
            )
        ours = artifact.get(hint.algorithm)
        if hint != ours:
            raise DigestError(
                f"bundle is for {hint}, the artifact is {ours}",
                reason="artifact-digest",
                next_step="do not use it; get the artifact and its bundle again from where they"
                " came",
            )
    if isinstance(signer.key, _ed25519_class()):
        return _verify_ed25519_message(message, artifact, signer.key)
    if hint is not None:
        verify_digest_signature(signer.key, hint.algorithm, hint.value, message.signature)
        return hint
    return _try_digests(message.signature, artifact, signer)


def _verify_ed25519_message(
    message: MessageSignature, artifact: ArtifactDigests, key: Ed25519PublicKey
) -> Digest:
    """Verify Ed25519ph over the digest, or Ed25519 over the artifact itself.

    Clients write both, and nothing but the signature says which it is: either way the key
    signed this artifact and no other.
    """
    raw, signature = key.public_bytes_raw(), message.signature
    check_ed25519_key(raw, "the signer")
    check_signature_length(signature)  # before asking for a digest: it tells another kind of key
    ours = artifact.get("sha512")
    hashed = artifact.by_prefix.get(challenge_prefix(raw, signature))
    if hashed is not None and verify_hashed(raw, signature, hashed):
        return ours
    try:
        verify_digest_signature(key, ours.algorithm, ours.value, signature)
    except SignatureError as error:
        if hashed is None:
            raise IncompleteError(
                "signature is not Ed25519ph over the digest; whether it is Ed25519 over the"
                " artifact itself cannot be told from a digest",
                reason="digest-algorithm",
                next_step="give the file itself instead of a digest",
            ) from error
        raise
    return ours


def _try_digests(signature: bytes, artifact: ArtifactDigests, signer: Signer) -> Digest:
    first: SignatureError | IncompleteError | None = None
    for algorithm in signer.digests:
        try:
            ours = artifact.get(algorithm)
            verify_digest_signature(signer.key, algorithm, ours.value, signature)
        except (SignatureError, IncompleteError) as error:
            first = first or error
        else:
            return ours
    raise first or SignatureError("signer's key signs no digest", reason="bad-signature")


def verify_envelope_signature(envelope: DsseEnvelope, signer: Signer) -> Digest:
    """Verify the signature of a DSSE envelope; return the digest of what it is over.

    Of an Ed25519 key it may be pure or prehashed. Raises SignatureError (bad-signature).
    """
    if signer.algorithm.key == "ed25519":
        return _verify_ed25519(envelope, signer)
    last: SignatureError | None = None
    for algorithm in signer.digests:
        signed = encoded_digest(envelope, algorithm)
        try:
            verify_digest_signature(signer.key, algorithm, signed.value, envelope.signature)
        except SignatureError as error:
            last = error
        else:
            return signed
    raise last or SignatureError("signer's key signs no digest", reason="bad-signature")


def encoded_digest(envelope: DsseEnvelope, algorithm: str) -> Digest:
    """Hash an envelope's pre-authentication encoding."""
    return Digest(algorithm, hashlib.new(algorithm, envelope.encoded).digest())


def _verify_ed25519(envelope: DsseEnvelope, signer: Signer) -> Digest:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(signer.key, Ed25519PublicKey):
        raise TypeError(f"{signer.algorithm.key} is not {type(signer.key).__name__}")
    check_ed25519_key(signer.key.public_bytes_raw(), "the signer")
    signed = encoded_digest(envelope, signer.algorithm.digest)
    try:
        signer.key.verify(envelope.signature, envelope.encoded)
    except InvalidSignature:
        verify_digest_signature(signer.key, signed.algorithm, signed.value, envelope.signature)
    return signed


def _ed25519_class() -> type[Ed25519PublicKey]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey
