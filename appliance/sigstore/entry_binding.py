"""Does the log entry speak of this signature: digest, signature and key (docs/verification.md).

Without this, a valid entry for something else could stand in (CVE-2022-36056). All three
are compared, as bytes, for every kind.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from appliance.errors import MalformedError, RefusedError, SignatureError
from appliance.rekor.entry import (
    READ_KINDS,
    Digest,
    Dsse,
    Entry,
    EntrySignature,
    HashedRekord,
    OpaqueEntry,
    parse_entry,
)
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.sigstore.dsse import DsseEnvelope
from appliance.sigstore.signer import Signer, encoded_digest
from appliance.sigstore.sigstore_bundle import SigstoreBundle

# Servers up to v2.2.1 took these for Ed25519 keys that sign envelopes.
_PURE_ED25519: Final = "PKIX_ED25519"


def check_entry_binding(
    entry: TransparencyLogEntry, bundle: SigstoreBundle, signer: Signer, signed: Digest
) -> str:
    """Compare an entry with the bundle it came in; return what it is, for the verdict.

    `signed` is the digest that the bundle's signature verified over. Raises SignatureError
    with reason entry-kind, entry-digest, entry-signature, entry-key or entry-key-details;
    MalformedError if the body is not what it says.
    """
    body = _read_body(entry)
    if (body.kind, body.version) != (entry.kind, entry.version):
        raise SignatureError(
            f"log entry is {body.kind} {body.version}, "
            f"the bundle calls it {entry.kind[:40]} {entry.version[:40]}",
            reason="entry-kind",
        )
    if isinstance(body, OpaqueEntry):
        raise _unread(body.kind, body.version)
    envelope = bundle.content if isinstance(bundle.content, DsseEnvelope) else None
    if isinstance(body, HashedRekord) and (envelope is None or body.version == "0.0.2"):
        claimed = body.data
        if envelope is not None:
            signed = encoded_digest(envelope, claimed.algorithm)
        if body.version == "0.0.2":
            _check_natural(claimed, signer)
    elif isinstance(body, Dsse) and envelope is not None:
        claimed = body.payload
        signed = Digest("sha256", sha256(envelope.payload).digest())
    else:
        raise SignatureError(
            f"a log entry of kind {body.kind[:40]} {body.version[:40]} cannot stand for "
            f"{'an artifact signature' if envelope is None else 'a DSSE envelope'}",
            reason="entry-kind",
        )
    if claimed != signed:
        raise SignatureError(
            f"log entry is for {claimed}, the bundle for {signed}", reason="entry-digest"
        )
    _check_signature(body.signatures, bundle.signature, signer)
    return f"{body.kind} {body.version}"


def _read_body(entry: TransparencyLogEntry) -> Entry:
    """Read a body; one of a kind that is not read here may be no JSON at all."""
    try:
        return parse_entry(entry.canonicalized_body)
    except MalformedError as error:
        if (entry.kind, entry.version) in READ_KINDS:
            raise
        raise _unread(entry.kind, entry.version) from error


def _unread(kind: str, version: str) -> RefusedError:
    return RefusedError(
        f"log entry of kind {kind[:40]} {version[:40]}, which nothing here can read",
        reason="entry-kind",
        next_step="update the appliance",
    )


def _check_natural(claimed: Digest, signer: Signer) -> None:
    """A v2 log knows one digest algorithm for each kind of key."""
    if claimed.algorithm != signer.algorithm.digest:
        raise SignatureError(
            f"log entry: expected a {signer.algorithm.digest} digest for this key, got {claimed}",
            reason="entry-digest",
        )


def _check_signature(
    signatures: tuple[EntrySignature, ...], expected: bytes, signer: Signer
) -> None:
    if len(signatures) != 1 or signatures[0].signature != expected:
        raise SignatureError(
            f"log entry holds {len(signatures)} signatures, not exactly the bundle's one",
            reason="entry-signature",
        )
    verifier = signatures[0].verifier
    if not verifier.same_key(signer.der, is_certificate=signer.is_certificate):
        raise SignatureError(
            f"log entry: expected the signer's own "
            f"{'certificate' if signer.is_certificate else 'key'} "
            f"{sha256(signer.der).hexdigest()}, got {sha256(verifier.der).hexdigest()}",
            reason="entry-key",
        )
    # v1 entries do not say which algorithm; v2 entries have to say the right one.
    allowed = {"", signer.algorithm.key_details}
    if signer.algorithm.key == "ed25519":
        allowed.add(_PURE_ED25519)
    if verifier.key_details not in allowed:
        raise SignatureError(
            f"log entry: keyDetails {verifier.key_details[:80]!r}, "
            f"expected {signer.algorithm.key_details}",
            reason="entry-key-details",
        )
