"""The inputs of one verification, and what it has found so far."""

from __future__ import annotations

from typing import Final

from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.identity import ExpectedSigner
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.sigstore.trusted_root import LogKey, TrustedRoot
from appliance.sigstore.verdict import Findings
from appliance.tlog.tlog_policy import TlogPolicy
from appliance.value import field, frozen

NO_ROOT: Final = TrustedRoot("", (), (), (), ())


@frozen
class OptIns:
    """What is refused unless the operator says that it is wanted."""

    unlogged: bool = False  # a stamp only: nobody could have noticed the signature
    several_entries: bool = False  # one log entry that satisfies everything suffices
    leaf_subject: bool = False  # a certificate with a subject, as private authorities issue


NO_OPT_INS: Final = OptIns()


@frozen
class Case:
    """One bundle, one artifact, what is expected and what is trusted."""

    bundle: SigstoreBundle
    artifact: ArtifactDigests
    expected: ExpectedSigner
    root: TrustedRoot  # NO_ROOT if there is none
    pinned: tuple[LogKey, ...]
    policy: TlogPolicy | None
    opt_ins: OptIns = NO_OPT_INS
    predicate_type: str = ""  # an attestation of this type; empty: anything signed
    findings: Findings = field(default_factory=Findings)
