"""What an artifact has to satisfy here: what was asked, and what this site's settings demand."""

from __future__ import annotations

import math

from appliance.jobs.verify.asked import Asked
from appliance.jobs.verify.judged import Demands
from appliance.runs.session import Session
from appliance.tlog.tlog_policy import TlogPolicy


def demands_of(
    session: Session, asked: Asked, policy: TlogPolicy | None, *, has_store: bool
) -> Demands:
    """Return the demands; `policy` is the one that was asked, parsed."""
    limit = asked.max_age
    require_mirror, require_proof = asked.require_mirror, asked.require_proof
    if has_store:
        settings = session.configuration
        require_mirror = require_mirror or settings.flag("verify.requireMirror")
        require_proof = require_proof or settings.flag("verify.requireProof")
        if limit is None:
            seconds = settings.optional_seconds("verify.maxCheckpointAge")
            limit = None if seconds is None else math.ceil(seconds)
    return Demands(
        require_mirror=require_mirror,
        require_proof=require_proof,
        max_age=limit or None,
        policy=policy,
        opt_ins=asked.opt_ins,
        predicate_type=asked.predicate_type,
        now=session.now(),
        clock_behind=session.clock.behind if limit else None,
    )
