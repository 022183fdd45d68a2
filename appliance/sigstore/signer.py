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
    RefusedError,
    SignatureError,
)
from appliance.rekor.entry import Digest
from appliance.rekor.signing_algorithms import (
    SigningAlgorithm,
    natural_algorithm,
    verify_digest_signature,
)
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.dsse import DsseEnvelope
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.value import frozen

if TYPE_CHECKING:
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
    sign that hash, IncompleteError (digest-algorithm) if we lack the digest, RefusedError
    (ed25519ph-unsupported).
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
                f"bundle is for {hint}, the artifact is {ours}", reason="artifact-digest"
            )
        verify_digest_signature(signer.key, ours.algorithm, ours.value, message.signature)
        return ours
    return _try_digests(message.signature, artifact, signer)


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

    Raises SignatureError (bad-signature), RefusedError (ed25519ph-unsupported) if an
    Ed25519 key did not sign the encoding itself.
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
    try:
        signer.key.verify(envelope.signature, envelope.encoded)
    except InvalidSignature as error:
        raise RefusedError(
            "envelope is not signed with Ed25519; it may be Ed25519ph, "
            "which this appliance cannot verify",
            reason="ed25519ph-unsupported",
        ) from error
    return encoded_digest(envelope, signer.algorithm.digest)
