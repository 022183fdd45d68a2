"""Verifying one Sigstore bundle against one artifact: the order of the steps.

Everything in a bundle is the sender's word until the step that authenticates it. Each step
is a function elsewhere; what is here is their order, and what each one may rely on. No
clock is read and nothing is fetched: the result depends on the arguments alone.

Policy, fixed: every proven signing time has to fit the certificate, not just one; a stamp
that does not verify proves no time, and is noted; a bundle that was never logged is
refused; windows of v2 log keys are not compared with anybody else's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from appliance.errors import IncompleteError, RefusedError, SignatureError, VerificationError
from appliance.rekor.entry import Digest
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.sigstore.certificates import check_leaf, load_certificate, verify_path
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.dsse import DsseEnvelope, match_subject, parse_statement
from appliance.sigstore.entry_binding import check_entry_binding
from appliance.sigstore.identity import (
    CertificateIdentity,
    ExpectedSigner,
    ManagedKey,
    check_identity,
    read_names,
)
from appliance.sigstore.log_inclusion import (
    V2_KINDS,
    find_log_keys,
    verify_log_inclusion,
    verify_promise,
)
from appliance.sigstore.scts import verify_scts
from appliance.sigstore.signer import (
    Signer,
    make_signer,
    verify_envelope_signature,
    verify_message_signature,
)
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.sigstore.timestamps import verify_stamp
from appliance.sigstore.trusted_root import LogKey, TrustedRoot
from appliance.sigstore.validity import format_time
from appliance.sigstore.verdict import (
    Findings,
    LogPosition,
    SignerFacts,
    SigningTime,
    Verification,
)
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.note_keys import load_spki

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_NO_ROOT: Final = TrustedRoot("", (), (), (), ())


def verify_bundle(
    bundle: SigstoreBundle,
    artifact: ArtifactDigests,
    expected: ExpectedSigner,
    trusted_root: TrustedRoot | None,
    log_keys: Sequence[LogKey] = (),
) -> Verification:
    """Verify, or raise: VerificationError, RefusedError or IncompleteError, with its reason."""
    verdict = judge_bundle(bundle, artifact, expected, trusted_root, log_keys)
    if verdict.error is not None:
        raise verdict.error
    return verdict


def judge_bundle(
    bundle: SigstoreBundle,
    artifact: ArtifactDigests,
    expected: ExpectedSigner,
    trusted_root: TrustedRoot | None,
    log_keys: Sequence[LogKey] = (),
) -> Verification:
    """Return the verdict, good or bad, with every check that was made.

    `log_keys` are keys the operator pinned, beside those of the trusted root. Without a
    root only managed keys can be verified.
    """
    case = _Case(bundle, artifact, expected, trusted_root or _NO_ROOT, tuple(log_keys), Findings())
    error = None
    try:
        _verify(case)
    except (VerificationError, RefusedError, IncompleteError) as caught:
        error = caught
    found = case.findings
    return Verification(
        error=error,
        checks=tuple(found.checks),
        artifact=str(artifact),
        signing_times=tuple(found.times),
        signer=found.signer,
        log=found.log,
        predicate_type=found.predicate_type,
        trust_root_digest=case.root.digest,
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """The inputs of one run, and what it has found so far."""

    bundle: SigstoreBundle
    artifact: ArtifactDigests
    expected: ExpectedSigner
    root: TrustedRoot
    pinned: tuple[LogKey, ...]
    findings: Findings


def _verify(case: _Case) -> None:
    _check_kind(case)
    entry, keys = _find_log(case)
    _prove_times(case, entry, keys)
    # Times are proven from here on; of the signer nothing is.
    if isinstance(case.expected, CertificateIdentity):
        signer = _verify_certificate(case, case.expected)
    else:
        signer = _take_managed_key(case, case.expected)
    # The key is the expected signer's; the entry may still be anybody's.
    _verify_inclusion(case, entry, keys)
    signed = _verify_signature(case, signer)
    # The signer signed the artifact; that the log saw this signature is the last thing.
    _verify_binding(case, entry, signer, signed)


def _check_kind(case: _Case) -> None:
    with case.findings.step("expected-signer") as texts:
        is_keyless = isinstance(case.expected, CertificateIdentity)
        if is_keyless != (case.bundle.certificate is not None):
            raise SignatureError(
                "expected a certificate, but the bundle is for a managed key"
                if is_keyless
                else "expected a managed key, but the bundle is for a certificate",
                reason="signer-kind",
                next_step="give the key with --key" if is_keyless else "give identity and issuer",
            )
        texts.append("certificate" if is_keyless else "managed key")


def _find_log(case: _Case) -> tuple[TransparencyLogEntry, tuple[LogKey, ...]]:
    with case.findings.step("log-entry") as texts:
        entry = case.bundle.log_entry
        if entry is None:
            raise RefusedError(
                "the bundle has no log entry: nobody could have noticed this signature",
                reason="no-log-entry",
            )
        keys = find_log_keys(entry, (*case.root.logs, *case.pinned))
        texts.append(f"{keys[0]}, entry {entry.log_index}")
    case.findings.log = LogPosition(
        log_id=entry.log_id,
        log_index=entry.log_index,
        kind=f"{entry.kind} {entry.version}",
        leaf_hash=leaf_hash(entry.canonicalized_body),
        log=str(keys[0]),
    )
    return entry, keys


def _prove_times(case: _Case, entry: TransparencyLogEntry, keys: tuple[LogKey, ...]) -> None:
    found = case.findings
    if entry.inclusion_promise is not None:
        with found.step("signed-entry-timestamp") as texts:
            promised = verify_promise(entry, keys)
            texts.append(f"{format_time(promised.time)} by {promised.authority}")
            found.times.append(promised)
    unproven: VerificationError | None = None
    for stamp in case.bundle.stamps:
        try:
            stamped = verify_stamp(stamp, case.bundle.signature, case.root.timestamp_authorities)
        except VerificationError as error:
            unproven = unproven or error
            found.note("timestamp", error.message, error.reason)
            continue
        with found.step("timestamp") as texts:
            texts.append(f"{format_time(stamped.time)} by {stamped.authority}")
            found.times.append(SigningTime(stamped.time, "rfc3161", str(stamped.authority)))
    if not found.times and case.bundle.certificate is not None:
        with found.step("signing-time"):
            raise unproven or SignatureError(
                "nothing proves when this was signed: no signed entry timestamp, no RFC 3161 stamp",
                reason="no-signing-time",
            )
    if (entry.kind, entry.version) in V2_KINDS:
        found.note("signing-time", "the log has no clock; its key's window was not compared")


def _verify_certificate(case: _Case, expected: CertificateIdentity) -> Signer:
    found = case.findings
    with found.step("certificate") as texts:
        der = case.bundle.certificate or b""
        leaf = load_certificate(der, "signer's certificate")
        check_leaf(leaf)
        signer = make_signer(der, leaf.public_key(), is_certificate=True)
        texts.append(f"{signer.algorithm.key}, SHA-256 {sha256(der).hexdigest()}")
    path = _verify_paths(case, leaf)
    with found.step("certificate-transparency") as texts:
        promise = verify_scts(path, case.root.ct_logs)
        texts.append(f"{format_time(promise.time)} by {promise.log}")
    with found.step("identity") as texts:
        names = read_names(leaf)
        identity = check_identity(names, expected)
        texts.append(f"{identity}, by {names.issuers[0]}")
        texts.extend(f"{name} {value}" for name, value in expected.claims.items())
    found.signer = SignerFacts(
        kind="certificate",
        digest=sha256(der).hexdigest(),
        key_type=signer.algorithm.key,
        identity=identity,
        issuer=names.issuers[0],
        claims=names.claims,
    )
    return signer


def _verify_paths(case: _Case, leaf: Certificate) -> tuple[Certificate, ...]:
    with case.findings.step("certificate-path") as texts:
        if case.root is _NO_ROOT:
            raise IncompleteError(
                "a certificate can only be verified with a trusted root",
                reason="no-trusted-root",
                next_step="attestor trust import FILE, or --trusted-root FILE",
            )
        times: list[datetime] = [one.time for one in case.findings.times]
        paths = [verify_path(leaf, case.root.certificate_authorities, one) for one in times]
        texts.append(f"valid at {' and '.join(map(format_time, times))}")
    return paths[0]


def _take_managed_key(case: _Case, expected: ManagedKey) -> Signer:
    found = case.findings
    with found.step("identity") as texts:
        signer = make_signer(expected.spki, load_spki(expected.spki), is_certificate=False)
        content = case.bundle.content
        if isinstance(content, DsseEnvelope) and content.key_id not in ("", case.bundle.key_hint):
            raise SignatureError(
                f"envelope is for key {content.key_id[:80]!r}, "
                f"the bundle for {case.bundle.key_hint[:80]!r}",
                reason="key-hint",
            )
        texts.append(f"key SHA-256 {sha256(expected.spki).hexdigest()}")
    with found.step("key-window") as texts:
        window = expected.valid
        if (window.start or window.end) and not found.times:
            raise SignatureError(
                f"the key is valid from {window}, and nothing proves when this was signed",
                reason="no-signing-time",
            )
        for one in found.times:
            if not window.contains(one.time):
                raise SignatureError(
                    f"signed at {format_time(one.time)}, the key is valid from {window}",
                    reason="key-window",
                )
        texts.append(str(window))
    digest = sha256(expected.spki).hexdigest()
    found.signer = SignerFacts(kind="key", digest=digest, key_type=signer.algorithm.key)
    return signer


def _verify_inclusion(case: _Case, entry: TransparencyLogEntry, keys: tuple[LogKey, ...]) -> None:
    found = case.findings
    proof = entry.inclusion_proof
    if proof is None or not proof.checkpoint:
        # Only bundles 0.1 get here, and their signed entry timestamp verified.
        found.note("checkpoint-and-inclusion", "bundle 0.1: the log's promise only, no proof")
        return
    with found.step("checkpoint-and-inclusion") as texts:
        signed = verify_log_inclusion(entry, proof, keys)
        texts.append(f"entry {proof.entry_index} of {signed.origin}, {signed.head}")
    found.log = LogPosition(
        log_id=entry.log_id,
        log_index=entry.log_index,
        kind=f"{entry.kind} {entry.version}",
        leaf_hash=leaf_hash(entry.canonicalized_body),
        log=str(keys[0]),
        entry_index=proof.entry_index,
        checkpoint=signed,
    )


def _verify_signature(case: _Case, signer: Signer) -> Digest:
    found, content = case.findings, case.bundle.content
    if not isinstance(content, DsseEnvelope):
        with found.step("signature") as texts:
            signed = verify_message_signature(content, case.artifact, signer)
            texts.append(f"{signer.algorithm.key} over {signed}")
        return signed
    with found.step("signature") as texts:
        signed = verify_envelope_signature(content, signer)
        texts.append(f"{signer.algorithm.key} over a DSSE envelope")
    with found.step("subject") as texts:
        statement = parse_statement(content)
        subject = match_subject(statement, case.artifact.by_algorithm)
        texts.append(f"{subject.name[:200]!r} of a statement of {statement.predicate_type[:200]!r}")
        found.predicate_type = statement.predicate_type
    return signed


def _verify_binding(
    case: _Case, entry: TransparencyLogEntry, signer: Signer, signed: Digest
) -> None:
    with case.findings.step("entry-binding") as texts:
        texts.append(check_entry_binding(entry, case.bundle, signer, signed))
