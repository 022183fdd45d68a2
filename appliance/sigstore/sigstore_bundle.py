"""The Sigstore bundle, versions 0.1 to 0.3: parsed, and believed in nothing.

What a version demands is checked here, because it is a matter of form. Nobody signed the
JSON of a bundle, so it is read as leniently as clients read it; unknown fields are ignored
(newer clients write them), repeated keys are not (strict_json).
"""

from __future__ import annotations

from typing import Final

from appliance.errors import ApplianceError, MalformedError, RefusedError
from appliance.patterns import pattern
from appliance.rekor.entry import Digest
from appliance.rekor.protojson import Message, top_message
from appliance.rekor.signing_algorithms import DIGEST_BYTES, PROTOBUF_DIGESTS, PROTOBUF_NUMBERS
from appliance.rekor.transparency_log_entry import TransparencyLogEntry, read_log_entry
from appliance.sigstore.dsse import DsseEnvelope, read_envelope
from appliance.tlog.foreign_files import BUNDLE, foreign_object
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAX_BUNDLE_BYTES: Final = 40 * 1024 * 1024  # a statement of 24 MiB in base64, and room
MAX_STAMPS: Final = 32
MAX_ENTRIES: Final = 32
MAX_CHAIN: Final = 16
_VERSIONS: Final = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": "0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2": "0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3": "0.3",
    # The field's newer form, which only 0.3 was to have; other clients take it of all.
    "application/vnd.dev.sigstore.bundle.v0.1+json": "0.1",
    "application/vnd.dev.sigstore.bundle.v0.2+json": "0.2",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "0.3",
}
_NEWER: Final = pattern(r".*[.=]v?[0-9]+(\.[0-9]+)*(\+json)?")
_UNSET: Final = ("", "0", "HASH_ALGORITHM_UNSPECIFIED")
_FAMILY: Final = "application/vnd.dev.sigstore.bundle"


@frozen
class MessageSignature:
    """A signature over an artifact."""

    signature: bytes
    digest: Digest | None  # unauthenticated: says which algorithm, and must equal ours


@frozen
class SigstoreBundle:
    """A bundle that parsed. Everything in it is the sender's word."""

    version: str  # 0.1, 0.2 or 0.3
    certificate: bytes | None  # DER of the leaf; None for a managed key
    key_hint: str  # which managed key; empty with a certificate
    log_entries: tuple[TransparencyLogEntry, ...]  # none if it was never logged; seldom several
    stamps: tuple[bytes, ...]  # RFC 3161 responses, DER, no two equal
    content: MessageSignature | DsseEnvelope

    @property
    def log_entry(self) -> TransparencyLogEntry | None:
        """The first log entry; None if it was never logged."""
        return self.log_entries[0] if self.log_entries else None

    @property
    def signature(self) -> bytes:
        """The signature itself, which is also what the stamps are over."""
        return self.content.signature


def parse_sigstore_bundle(raw: bytes) -> SigstoreBundle:
    """Parse a bundle's JSON.

    Raises MalformedError, with reason media-type for what is no bundle, signature-count,
    duplicate-stamp, certificate-form, no-inclusion-promise, no-inclusion-proof or
    no-checkpoint where the version demands it; RefusedError (media-type, cosign-bundle,
    digest-algorithm) for what is well-formed and not supported; LimitError above 40 MiB,
    32 stamps or log entries, 16 certificates or 64 proof hashes.
    """
    value = parse_json(raw, "Sigstore bundle", MAX_BUNDLE_BYTES)
    return read_sigstore_bundle(top_message(value, "bundle", lenient=True))


def read_sigstore_bundle(bundle: Message) -> SigstoreBundle:
    """Read a bundle message; raises as parse_sigstore_bundle does."""
    media_type = bundle.text("mediaType")
    version = _VERSIONS.get(media_type)
    if version is None:
        raise _of_another_kind(bundle, media_type)
    material = bundle.required_message("verificationMaterial")
    certificate, key_hint = _read_signer(material, version)
    return SigstoreBundle(
        version=version,
        certificate=certificate,
        key_hint=key_hint,
        log_entries=_read_entries(material, version),
        stamps=_read_stamps(material),
        content=_read_content(bundle),
    )


def _read_signer(material: Message, version: str) -> tuple[bytes | None, str]:
    member = material.only_of("publicKey", "x509CertificateChain", "certificate")
    content = material.required_message(member)
    if member == "publicKey":
        return None, content.text("hint")
    if member == "x509CertificateChain" and version == "0.3":
        raise MalformedError(
            f"bundle {version}: expected a single certificate, got {member}",
            reason="certificate-form",
        )
    # A single certificate in an older version says no less; other clients take it, too.
    if member == "certificate":
        return content.required_binary("rawBytes"), ""
    chain = content.messages("certificates", MAX_CHAIN)
    if not chain:
        raise MalformedError(f"{content.path}.certificates: missing", reason="empty-chain")
    # The first is the leaf. Old clients sent issuers too; the path is built from the root.
    return chain[0].required_binary("rawBytes"), ""


def _of_another_kind(bundle: Message, media_type: str) -> ApplianceError:
    """Say what a file is that is no bundle of a version we know."""
    expected = "expected a Sigstore bundle 0.1, 0.2 or 0.3"
    if media_type.startswith(_FAMILY):
        newer = "the newer " if _NEWER.fullmatch(media_type) else ""
        return RefusedError(
            f"bundle.mediaType: {expected}, got {newer}{media_type[:120]!r}",
            reason="media-type",
            next_step="update the appliance, or have the signer's client write version 0.3",
        )
    if any(bundle.get(name) is not None for name in ("base64Signature", "rekorBundle")):
        return RefusedError(
            f"this is a bundle as cosign 1 and 2 wrote it (base64Signature, cert, rekorBundle); "
            f"{expected}",
            reason="cosign-bundle",
            next_step="convert it where there is a network: cosign bundle create --artifact FILE "
            "--bundle THIS_FILE --out FILE.sigstore.json",
        )
    other = foreign_object(bundle.fields, BUNDLE)
    if other is not None:
        return other
    return MalformedError(
        f"bundle.mediaType: {expected}, got {media_type[:120]!r}", reason="media-type"
    )


def _read_entries(material: Message, version: str) -> tuple[TransparencyLogEntry, ...]:
    entries = material.messages("tlogEntries", MAX_ENTRIES)
    return tuple(_read_entry(entry, version) for entry in entries)


def _read_entry(message: Message, version: str) -> TransparencyLogEntry:
    entry = read_log_entry(message)
    if version == "0.1":
        if entry.inclusion_promise is None:
            raise MalformedError(
                "bundle 0.1: no inclusion promise (signed entry timestamp)",
                reason="no-inclusion-promise",
            )
    elif entry.inclusion_proof is None:
        raise MalformedError(f"bundle {version}: no inclusion proof", reason="no-inclusion-proof")
    elif not entry.inclusion_proof.checkpoint:
        raise MalformedError(
            f"bundle {version}: inclusion proof without checkpoint", reason="no-checkpoint"
        )
    return entry


def _read_stamps(material: Message) -> tuple[bytes, ...]:
    data = material.message("timestampVerificationData")
    if data is None:
        return ()
    stamps = tuple(
        message.required_binary("signedTimestamp")
        for message in data.messages("rfc3161Timestamps", MAX_STAMPS)
    )
    if len(set(stamps)) != len(stamps):
        raise MalformedError("bundle: the same RFC 3161 stamp twice", reason="duplicate-stamp")
    return stamps


def _read_content(bundle: Message) -> MessageSignature | DsseEnvelope:
    if bundle.only_of("messageSignature", "dsseEnvelope") == "dsseEnvelope":
        return read_envelope(bundle.required_message("dsseEnvelope"))
    message = bundle.required_message("messageSignature")
    return MessageSignature(message.required_binary("signature"), _read_digest(message))


def _read_digest(message: Message) -> Digest | None:
    digest = message.message("messageDigest")
    if digest is None:
        return None
    name = digest.enum("algorithm", PROTOBUF_NUMBERS)
    if name in _UNSET:  # the default, which clients leave away; the length says which it is
        value = digest.binary("digest")
        by_length = {n_bytes: algorithm for algorithm, n_bytes in DIGEST_BYTES.items()}
        return Digest(by_length[len(value)], value) if len(value) in by_length else None
    if name not in PROTOBUF_DIGESTS:
        raise RefusedError(
            f"{digest.path}.algorithm: expected {', '.join(PROTOBUF_DIGESTS)}, got {name[:80]!r}",
            reason="digest-algorithm",
        )
    return Digest(PROTOBUF_DIGESTS[name], digest.binary("digest"))
