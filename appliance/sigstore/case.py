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
class Case:
    """One bundle, one artifact, what is expected and what is trusted."""

    bundle: SigstoreBundle
    artifact: ArtifactDigests
    expected: ExpectedSigner
    root: TrustedRoot  # NO_ROOT if there is none
    pinned: tuple[LogKey, ...]
    policy: TlogPolicy | None
    findings: Findings = field(default_factory=Findings)
