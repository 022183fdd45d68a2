"""What is demanded of an artifact, and the verdict on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import ApplianceError, DivergenceError, IncompleteError, RefusedError
from appliance.policy.own_view import Coverage, OwnView
from appliance.sigstore.case import NO_OPT_INS, OptIns
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.verdict import LogPosition, Verification
from appliance.times import age_text
from appliance.value import frozen

if TYPE_CHECKING:  # a verify without a mirror needs neither
    from appliance.store.mirror.checkpoints import AcceptedCheckpoint
    from appliance.tlog.tlog_policy import TlogPolicy


@frozen
class Demands:
    """What this site demands beyond a valid signature."""

    require_mirror: bool = False
    require_proof: bool = False  # a log's promise is not enough
    max_age: int | None = None  # seconds since the log last answered, us or whom we import from
    clock_behind: str | None = None  # why no age can be told; None: it can
    policy: TlogPolicy | None = None  # witnesses that must have cosigned the bundle's checkpoint
    opt_ins: OptIns = NO_OPT_INS  # what the operator allows beyond what is usual
    predicate_type: str = ""  # what an attestation has to say it is; empty: any, or none
    now: int = 0  # Unix seconds


@frozen
class Verdict:
    """Everything there is to say about one artifact and one Sigstore bundle."""

    verification: Verification
    own_view: OwnView
    checkpoint: AcceptedCheckpoint | None  # ours of that log
    error: ApplianceError | None  # why the answer is not yes; None if it is


@frozen
class Answer:
    """One artifact, and what came of it: a verdict, or why there can be none."""

    artifact: str
    bundle_path: Path | None  # None: none was there
    verdict: Verdict | None
    error: ApplianceError | None  # why it is not verified
    digests: ArtifactDigests | None = None
    bundle: bytes = b""


def unproven(log: LogPosition | None, demands: Demands) -> ApplianceError | None:
    """Return why a promise alone, or no log at all, is not enough; None: it is."""
    if not demands.require_proof or (log is not None and log.rests_on != "promise"):
        return None
    if log is None:
        return RefusedError(
            "it was never logged, so nothing proves that a log holds it", reason="no-proof"
        )
    return RefusedError(
        "the bundle holds only the log's promise, no checkpoint and inclusion proof",
        reason="promise-only",
        next_step="add today's proof from a mirror of the log: attestor prove --upgrade",
    )


def unmet(view: OwnView, heard_at: int | None, demands: Demands) -> ApplianceError | None:
    """Return what our own view of a log does not give that is demanded; None: nothing."""
    if view.coverage is Coverage.CONTRADICTION:
        return DivergenceError(
            f"the log contradicts itself: {view.text}",
            reason="split-view",
            next_step="trust nothing newer from this log until it is explained;"
            " keep this Sigstore bundle, it is evidence",
        )
    if demands.require_mirror and view.coverage is not Coverage.COVERED:
        return IncompleteError(
            f"our mirror does not cover it ({view.text})",
            reason="not-covered",
            next_step="sync, or import a transfer bundle that reaches this entry",
        )
    if demands.max_age is not None:
        age = None if heard_at is None else max(demands.now - heard_at, 0)
        if age is None or age > demands.max_age:
            how_old = "absent" if age is None else f"{age_text(age)} old"
            return RefusedError(
                f"what we last heard of its log is {how_old}, at most"
                f" {age_text(demands.max_age)} allowed",
                reason="stale",
                next_step="sync, or import a newer transfer bundle",
            )
        if demands.clock_behind is not None:
            return IncompleteError(
                demands.clock_behind,
                reason="clock",
                next_step="set the clock; if it was ahead and is right now: attestor doctor"
                " --reset-clock REASON",
            )
    return None
