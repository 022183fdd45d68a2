"""Judge recorded verdicts again, when a new trusted root or an alert arrives.

Where a Sigstore bundle contradicts our tree, the evidence is kept (`keep_contradiction`).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from appliance.errors import ApplianceError, MalformedError
from appliance.jobs.divergence.gossip import report_seen_contradiction
from appliance.jobs.verify.verify import Demands, Verdict, verify_artifact
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.sigstore.digests import read_named
from appliance.sigstore.identity import CertificateIdentity, ExpectedSigner, ManagedKey
from appliance.sigstore.trusted_root import LogKey, TrustedRoot
from appliance.store.database import Store
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.verify.verdicts import RecordedVerdict


def describe_signer(expected: ExpectedSigner) -> dict[str, Any]:
    """Return an expected signer as JSON that read_signer reads."""
    if isinstance(expected, ManagedKey):
        return {"key": b64encode(expected.spki).decode()}
    described = {
        "identity": expected.identity,
        "issuer": expected.issuer,
        "identityRegexp": expected.identity_regexp,
        "issuerRegexp": expected.issuer_regexp,
        "claims": dict(expected.claims),
    }
    return {name: one for name, one in described.items() if one}


def read_signer(described: dict[str, Any]) -> ExpectedSigner:
    """Read what describe_signer wrote; raises MalformedError."""
    if "key" in described:
        return ManagedKey(b64decode(described["key"]))
    try:
        return CertificateIdentity(
            identity=described.get("identity", ""),
            issuer=described.get("issuer", ""),
            identity_regexp=described.get("identityRegexp", ""),
            issuer_regexp=described.get("issuerRegexp", ""),
            claims=described.get("claims", {}),
        )
    except ApplianceError as error:
        raise MalformedError(f"recorded signer: {error.message}") from error


def judge_again(
    store: Store,
    recorded: RecordedVerdict,
    trusted_root: TrustedRoot | None,
    log_keys: Sequence[LogKey],
    demands: Demands,
) -> Verdict:
    """Judge a recorded question with today's root, keys and mirror."""
    return verify_artifact(
        store,
        parse_attestation_file(recorded.bundle),
        read_named(recorded.digests),
        read_signer(recorded.expected),
        trusted_root,
        log_keys,
        demands,
    )


def keep_contradiction(store: Store, verdict: Verdict, source: str, now: int) -> int | None:
    """Store both signed notes, raise the alert, quarantine the log; return the evidence's id.

    `source` names the file it was found in. Raises ValueError for a verdict that is no
    contradiction, IncompleteError or StoreError if it cannot be stored.
    """
    log, ours = verdict.verification.log, verdict.checkpoint
    if log is None or log.checkpoint is None or ours is None:
        raise ValueError("a verdict without a contradiction")
    mirror = Mirror(store, require_log(store, log.origin))
    arrival = Arrival("seen", source, now)
    return report_seen_contradiction(mirror, ours, log.checkpoint, arrival).evidence_id
