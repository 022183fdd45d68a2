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

from appliance.errors import IncompleteError, RefusedError, SignatureError, VerificationError
from appliance.rekor.entry import Digest
from appliance.rekor.transparency_log_entry import InclusionProof, TransparencyLogEntry
from appliance.sigstore.case import NO_OPT_INS, NO_ROOT, Case, OptIns
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.dsse import DsseEnvelope, match_subject, parse_statement
from appliance.sigstore.entry_binding import check_entry_binding
from appliance.sigstore.identity import CertificateIdentity, ExpectedSigner
from appliance.sigstore.log_inclusion import (
    V2_KINDS,
    find_log_keys,
    verify_log_inclusion,
    verify_promise,
)
from appliance.sigstore.signer import (
    Signer,
    verify_envelope_signature,
    verify_message_signature,
)
from appliance.sigstore.signer_steps import take_managed_key, verify_certificate
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.sigstore.trusted_root import LogKey, TrustedRoot
from appliance.sigstore.validity import format_time
from appliance.sigstore.verdict import LogPosition, SigningTime, Verification
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.quorum import verify_quorum
from appliance.tlog.tlog_policy import TlogPolicy
from appliance.value import replaced


def verify_bundle(
    bundle: SigstoreBundle,
    artifact: ArtifactDigests,
    expected: ExpectedSigner,
    trusted_root: TrustedRoot | None,
    log_keys: Sequence[LogKey] = (),
    policy: TlogPolicy | None = None,
    opt_ins: OptIns = NO_OPT_INS,
    predicate_type: str = "",
) -> Verification:
    """Verify, or raise: VerificationError, RefusedError or IncompleteError, with its reason."""
    verdict = judge_bundle(
        bundle, artifact, expected, trusted_root, log_keys, policy, opt_ins, predicate_type
    )
    if verdict.error is not None:
        raise verdict.error
    return verdict


def judge_bundle(
    bundle: SigstoreBundle,
    artifact: ArtifactDigests,
    expected: ExpectedSigner,
    trusted_root: TrustedRoot | None,
    log_keys: Sequence[LogKey] = (),
    policy: TlogPolicy | None = None,
    opt_ins: OptIns = NO_OPT_INS,
    predicate_type: str = "",
) -> Verification:
    """Return the verdict, good or bad, with every check that was made.

    `log_keys` are keys the operator pinned, beside those of the trusted root; without a
    root only managed keys can be verified. Under a `policy` the checkpoint has to be of
    one of its logs, and cosigned by its quorum. With a `predicate_type` it has to be an
    attestation whose statement says exactly that. A bundle with several log entries is judged
    by one of them at a time: see single_entries.
    """
    root = trusted_root or NO_ROOT
    keys = tuple(log_keys)
    case = Case(bundle, artifact, expected, root, keys, policy, opt_ins, predicate_type)
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
        cosigners=found.cosigners,
        predicate_type=found.predicate_type,
        trust_root_digest=case.root.digest,
    )


def single_entries(bundle: SigstoreBundle) -> tuple[SigstoreBundle, ...]:
    """Return a bundle once for each of its log entries, with that entry alone."""
    if len(bundle.log_entries) < 2:
        return (bundle,)
    return tuple(replaced(bundle, log_entries=(entry,)) for entry in bundle.log_entries)


def _verify(case: Case) -> None:
    _check_kind(case)
    entry, keys = _find_log(case)
    _prove_times(case, entry, keys)
    # Times are proven from here on; of the signer nothing is.
    if isinstance(case.expected, CertificateIdentity):
        signer = verify_certificate(case, case.expected)
    else:
        signer = take_managed_key(case, case.expected)
    # The key is the expected signer's; the entry may still be anybody's.
    if entry is not None:
        _verify_inclusion(case, entry, keys)
    signed = _verify_signature(case, signer)
    if case.predicate_type:
        _check_predicate_type(case)
    # The signer signed the artifact; that the log saw this signature is the last thing.
    if entry is not None:
        _verify_binding(case, entry, signer, signed)


def _check_kind(case: Case) -> None:
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


def _find_log(case: Case) -> tuple[TransparencyLogEntry | None, tuple[LogKey, ...]]:
    with case.findings.step("log-entry") as texts:
        entry = case.bundle.log_entry
        if entry is None and case.opt_ins.unlogged and case.policy is None:
            texts.append("none, as allowed: nobody but the signer could notice this signature")
            return None, ()
        if entry is None:
            raise RefusedError(
                "the bundle has no log entry: nobody could have noticed this signature",
                reason="no-log-entry",
                next_step="if it is of a private repository that logs nothing: --allow-unlogged",
            )
        if len(case.bundle.log_entries) > 1:
            raise RefusedError(
                f"expected exactly one log entry, got {len(case.bundle.log_entries)}",
                reason="log-entry-count",
                next_step="to take an entry that satisfies everything: --allow-several-entries",
            )
        keys = find_log_keys(entry, (*case.root.logs, *case.pinned))
        texts.append(f"{keys[0]}, entry {entry.log_index}, key from {keys[0].source}")
    case.findings.log = _position(entry, keys)
    return entry, keys


def _prove_times(case: Case, entry: TransparencyLogEntry | None, keys: tuple[LogKey, ...]) -> None:
    found = case.findings
    if entry is not None and entry.inclusion_promise is not None:
        with found.step("signed-entry-timestamp") as texts:
            promised = verify_promise(entry, keys)
            texts.append(f"{format_time(promised.time)} by {promised.authority}")
            found.times.append(promised)
    unproven: VerificationError | RefusedError | None = None
    if case.bundle.stamps:  # most bundles have none, and need nothing of CMS
        from appliance.sigstore.timestamps import verify_stamp
    for stamp in case.bundle.stamps:
        try:
            stamped = verify_stamp(stamp, case.bundle.signature, case.root.timestamp_authorities)
        except (VerificationError, RefusedError) as error:
            unproven = unproven or error
            found.note("timestamp", error.message, error.reason)
            continue
        with found.step("timestamp") as texts:
            texts.append(f"{format_time(stamped.time)} by {stamped.authority}")
            found.times.append(SigningTime(stamped.time, "rfc3161", str(stamped.authority)))
    # Without a log a stamp is all there is; a managed key alone would prove no time at all.
    if found.times or case.bundle.certificate is not None or entry is None:
        with found.step("signing-time") as texts:
            if not found.times:
                raise unproven or SignatureError(
                    "nothing proves when this was signed: no signed entry timestamp, no RFC 3161"
                    " stamp",
                    reason="no-signing-time",
                )
            times = sorted({one.time for one in found.times})
            texts.append(f"before {' and '.join(map(format_time, times))}")
            if entry is not None and (entry.kind, entry.version) in V2_KINDS:
                texts.append("the log has no clock; its key's window was not compared")
    else:
        found.note("signing-time", "nothing proves when this was signed, and nothing here needs it")


def _verify_inclusion(case: Case, entry: TransparencyLogEntry, keys: tuple[LogKey, ...]) -> None:
    found = case.findings
    proof = entry.inclusion_proof
    if proof is None or not proof.checkpoint:
        _accept_promise(case, entry, proof)
        return
    with found.step("checkpoint-and-inclusion") as texts:
        signed = verify_log_inclusion(entry, proof, keys)
        texts.append(f"entry {proof.entry_index} of {signed.origin}, {signed.head}")
    found.log = _position(entry, keys, proof.entry_index, signed)
    if case.policy is not None:
        with found.step("cosignatures") as texts:
            found.cosigners = verify_quorum(signed, case.policy)
            texts.append(
                ", ".join(cosigner.key.name for cosigner in found.cosigners) or "none needed"
            )


def _accept_promise(case: Case, entry: TransparencyLogEntry, proof: InclusionProof | None) -> None:
    """Take the log's verified promise for inclusion; only bundles 0.1 get here.

    What lies beside the promise and has no checkpoint proves nothing, and changes nothing.
    """
    found = case.findings
    with found.step("checkpoint-and-inclusion") as texts:
        if entry.inclusion_promise is None:
            raise RefusedError(
                "the bundle holds neither a checkpoint with an inclusion proof nor the log's"
                " promise",
                reason="no-proof",
            )
        if case.policy is not None:
            raise RefusedError(
                "the bundle holds only the log's promise, no checkpoint and inclusion proof",
                reason="promise-only",
                next_step="add today's proof from a mirror of the log: prove --upgrade",
            )
        texts.append("bundle 0.1: the log's promise only")
    if proof is not None and found.log is not None:
        found.log = replaced(found.log, claimed_index=proof.entry_index)


def _position(
    entry: TransparencyLogEntry,
    keys: tuple[LogKey, ...],
    entry_index: int | None = None,
    signed: SignedCheckpoint | None = None,
) -> LogPosition:
    return LogPosition(
        log_id=entry.log_id,
        log_index=entry.log_index,
        kind=f"{entry.kind} {entry.version}",
        leaf_hash=leaf_hash(entry.canonicalized_body),
        log=str(keys[0]),
        key_source="; ".join(dict.fromkeys(key.source for key in keys)),
        entry_index=entry_index,
        checkpoint=signed,
    )


def _verify_signature(case: Case, signer: Signer) -> Digest:
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


def _check_predicate_type(case: Case) -> None:
    with case.findings.step("predicate-type") as texts:
        expected, got = case.predicate_type, case.findings.predicate_type
        if got != expected:
            is_attestation = isinstance(case.bundle.content, DsseEnvelope)
            raise SignatureError(
                f"expected an attestation of type {expected[:200]!r}, got "
                f"{f'type {got[:200]!r}' if is_attestation else 'a signature of the artifact'}",
                reason="predicate-type",
                next_step="ask for an attestation of this type, or name the type that is meant",
            )
        texts.append(expected)


def _verify_binding(
    case: Case, entry: TransparencyLogEntry, signer: Signer, signed: Digest
) -> None:
    with case.findings.step("entry-binding") as texts:
        texts.append(check_entry_binding(entry, case.bundle, signer, signed))
