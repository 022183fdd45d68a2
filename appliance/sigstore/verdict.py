"""What verifying found: every check by a stable code, and the facts that were established.

A verdict is a value. Nothing here decides; texts are for people, codes and reasons for
programs.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from appliance.errors import ApplianceError
from appliance.sigstore.validity import format_time
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.cosignature import Cosignature
from appliance.tlog.merkle import Hash
from appliance.value import field, frozen


class Outcome(enum.Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOTED = "noted"  # nothing was decided by it, but it should be known


# Each check in the order in which they are made, and whose fault it is if it fails.
CHECKS: Final[Mapping[str, str]] = {
    "expected-signer": "the kind of signature is not the kind that was expected",
    "log-entry": "the bundle, or our list of logs",
    "signed-entry-timestamp": "the bundle, or its log",
    "timestamp": "the bundle, or its timestamp authority",
    "signing-time": "whoever made the bundle: nothing proves when it was signed",
    "certificate": "whoever made the bundle: the certificate is not a signer's",
    "certificate-path": "the bundle, or our trusted root",
    "certificate-transparency": "the certificate authority, or our trusted root",
    "identity": "signed by somebody else than expected",
    "key-window": "signed when the key was not in use",
    "checkpoint-and-inclusion": "the bundle, or its log",
    "cosignatures": "the bundle is old, or its log or witnesses are not ours",
    "signature": "the bundle or the artifact, or the expected key: one of them is wrong",
    "subject": "the artifact: the statement is about something else",
    "predicate-type": "signed, but for another purpose than expected",
    "entry-binding": "the bundle: its log entry is for another signature",
}


@frozen
class Check:
    """One check that was made."""

    code: str  # key of CHECKS
    outcome: Outcome
    text: str
    reason: str = ""  # of the error, if it failed


@frozen
class SigningTime:
    """A time before which the signature provably existed."""

    time: datetime
    source: str  # signed-entry-timestamp or rfc3161
    authority: str  # whose clock


@frozen
class SignerFacts:
    """Who signed, as far as it was verified."""

    kind: str  # certificate or key
    digest: str  # SHA-256 of certificate or SubjectPublicKeyInfo, 64 hex digits
    key_type: str
    identity: str = ""
    issuer: str = ""
    claims: Mapping[str, str] = field(default_factory=dict)


@frozen
class LogPosition:
    """Where the log says the entry is; what our own view is compared with."""

    log_id: bytes  # 32 bytes
    log_index: int  # as the bundle counts: v1 over all trees
    kind: str  # of the entry, with its version
    leaf_hash: Hash
    log: str  # base URL or origin, for people
    entry_index: int | None = None  # within the tree; None if only a promise was given
    checkpoint: SignedCheckpoint | None = None  # the log signed it; None as above
    key_source: str = ""  # who says that this is the log's key
    claimed_index: int | None = None  # beside a promise, by nobody's word: where to look first

    @property
    def rests_on(self) -> str:
        """What proves the entry: a proof to the checkpoint, our mirror, or a promise alone."""
        if self.checkpoint is not None:
            return "proof"
        return "promise" if self.entry_index is None else "mirror"

    @property
    def origin(self) -> str:
        """The tree's identity; empty if only a promise was given."""
        return "" if self.checkpoint is None else self.checkpoint.origin


class Findings:
    """What one run establishes, step by step. Becomes a Verification at the end."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.times: list[SigningTime] = []
        self.signer: SignerFacts | None = None
        self.log: LogPosition | None = None
        self.cosigners: tuple[Cosignature, ...] = ()
        self.predicate_type = ""

    @contextmanager
    def step(self, code: str) -> Iterator[list[str]]:
        """Make one check: passed with the texts appended to what it yields, or failed."""
        texts: list[str] = []
        try:
            yield texts
        except ApplianceError as error:
            self.checks.append(Check(code, Outcome.FAILED, error.message, error.reason))
            raise
        self.checks.append(Check(code, Outcome.PASSED, "; ".join(texts)))

    def note(self, code: str, text: str, reason: str = "") -> None:
        """Record something that decides nothing."""
        self.checks.append(Check(code, Outcome.NOTED, text, reason))


@frozen
class Verification:
    """The verdict on one bundle and one artifact."""

    error: ApplianceError | None  # why not; None if it verified
    checks: tuple[Check, ...]
    artifact: str  # digests, as algorithm:hex
    signing_times: tuple[SigningTime, ...]
    signer: SignerFacts | None  # None if it failed before anybody was identified
    log: LogPosition | None
    cosigners: tuple[Cosignature, ...]  # of the policy's witnesses; empty without a policy
    predicate_type: str  # of an in-toto statement
    trust_root_digest: str  # SHA-256, 64 hex digits; empty without a trusted root

    @property
    def verified(self) -> bool:
        """Whether every check passed."""
        return self.error is None

    @property
    def fault(self) -> str:
        """Where to look if it failed, else empty."""
        failed = [check.code for check in self.checks if check.outcome is Outcome.FAILED]
        return CHECKS[failed[-1]] if failed else ""

    @property
    def json(self) -> dict[str, Any]:
        """The verdict for --json."""
        return {
            "verified": self.verified,
            "reason": "" if self.error is None else self.error.reason,
            "message": "" if self.error is None else self.error.message,
            "fault": self.fault,
            "artifact": self.artifact,
            "checks": [
                {
                    "code": check.code,
                    "outcome": check.outcome.value,
                    "text": check.text,
                    "reason": check.reason,
                }
                for check in self.checks
            ],
            "signingTimes": [
                {"time": format_time(one.time), "source": one.source, "authority": one.authority}
                for one in self.signing_times
            ],
            "signer": None if self.signer is None else _signer_json(self.signer),
            "log": None if self.log is None else _log_json(self.log),
            "cosigners": [
                {"name": cosigner.key.name, "time": cosigner.timestamp}
                for cosigner in self.cosigners
            ],
            "predicateType": self.predicate_type,
            "trustRootDigest": self.trust_root_digest,
        }


def _signer_json(signer: SignerFacts) -> dict[str, Any]:
    return {
        "kind": signer.kind,
        "sha256": signer.digest,
        "keyType": signer.key_type,
        "identity": signer.identity,
        "issuer": signer.issuer,
        "claims": dict(signer.claims),
    }


def _log_json(log: LogPosition) -> dict[str, Any]:
    signed = log.checkpoint
    return {
        "log": log.log,
        "logId": log.log_id.hex(),
        "logIndex": log.log_index,
        "kind": log.kind,
        "leafHash": log.leaf_hash.hex(),
        "origin": log.origin,
        "entryIndex": log.entry_index,
        "treeSize": None if signed is None else signed.head.tree_size,
        "rootHash": None if signed is None else signed.head.root_hash.hex(),
        "restsOn": log.rests_on,
        "keySource": log.key_source,
    }
