"""Verify an artifact: the Sigstore bundle itself, then our own view of its log.

There is no import path from here to the network. The store is only read; keeping evidence
of a contradiction is a second, best-effort step of the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import DivergenceError
from appliance.jobs.verify.judged import Demands, Verdict, unmet, unproven
from appliance.policy.own_view import Coverage, OwnView
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.identity import ExpectedSigner
from appliance.sigstore.log_trust import LogTrust
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.sigstore.trusted_root import LogKey, TrustedRoot
from appliance.sigstore.verdict import Verification
from appliance.sigstore.verification import judge_bundle, single_entries
from appliance.store.database import Store


def verify_under(
    store: Store | None,
    trusts: Sequence[LogTrust],
    bundles: Sequence[SigstoreBundle],
    artifact: ArtifactDigests,
    expected: ExpectedSigner,
    demands: Demands,
) -> Verdict:
    """Judge an artifact under each trusted root; a root under which it is good suffices.

    If there is none, the answer is the one that got furthest.
    """
    verdicts = []
    for trust in trusts:
        verdict = verify_artifact(
            store, bundles, artifact, expected, trust.root, trust.pins, demands
        )
        if verdict.error is None or isinstance(verdict.error, DivergenceError):
            return verdict
        verdicts.append(verdict)
    return max(verdicts, key=lambda verdict: len(verdict.verification.checks))


def verify_artifact(
    store: Store | None,
    bundles: Sequence[SigstoreBundle],
    artifact: ArtifactDigests,
    expected: ExpectedSigner,
    trusted_root: TrustedRoot | None,
    log_keys: Sequence[LogKey],
    demands: Demands,
) -> Verdict:
    """Judge an artifact by the Sigstore bundles that came in one file; a no is a value.

    A bundle that satisfies everything suffices: registries put attestations by several signers
    into one file. If none does, the answer is about the bundle that got furthest.
    """
    verdicts = []
    if demands.opt_ins.several_entries:
        bundles = [part for bundle in bundles for part in single_entries(bundle)]
    for bundle in bundles:
        found = judge_bundle(
            bundle,
            artifact,
            expected,
            trusted_root,
            log_keys,
            demands.policy,
            demands.opt_ins,
            demands.predicate_type,
        )
        verdict = with_own_view(store, found, demands)
        if verdict.error is None or isinstance(verdict.error, DivergenceError):
            return verdict  # a log that contradicts itself outweighs any good signature
        verdicts.append(verdict)
    return max(verdicts, key=lambda verdict: len(verdict.verification.checks))


def with_own_view(store: Store | None, found: Verification, demands: Demands) -> Verdict:
    """Compare what verified with our own view of its log, and with the demands."""
    if found.error is None and found.log is None:
        view = OwnView(Coverage.NO_CHECKPOINT, "not covered: it was never logged")
        error = unproven(None, demands) or unmet(view, None, demands)
        return Verdict(found, view, None, error)
    if found.error is not None or found.log is None:
        nothing = OwnView(Coverage.NOT_COMPARED, "not looked at: it did not verify")
        return Verdict(found, nothing, None, found.error)
    if store is None:
        view = OwnView(Coverage.NO_STORE, "no mirror here to compare it with")
        error = unproven(found.log, demands) or unmet(view, None, demands)
        return Verdict(found, view, None, error)
    from appliance.jobs.verify.beside_mirror import beside_mirror

    return beside_mirror(store, found, found.log, demands)
