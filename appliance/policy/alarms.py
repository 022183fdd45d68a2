"""What people are told, and the exact payload that says it (docs/alerts.md).

An alarm is a condition that somebody has to know of. Two alarms with the same `condition`
are one alert as long as it lasts. The rules are elsewhere: of a log in policy/divergence.py, of
this home in policy/health.py, of entries in policy/watch.py and policy/expected.py. Who is told,
and when, is for jobs/divergence/alarm.py.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from appliance.policy.health import Problem
from appliance.tlog.merkle import Hash
from appliance.value import frozen


class Severity(enum.Enum):
    """How soon somebody has to act; also a metric's label."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Anomaly(enum.Enum):
    """What was found; the `type` label of attestor_rekor_anomalies_detected_total."""

    ROOT_MISMATCH = "RootHashMismatch"
    FORK = "TreeFork"
    ROLLBACK = "TreeSizeRollback"
    STALE_REPLICA = "StaleReplica"
    CROSS_LOG = "CrossLogDivergence"
    STALE_CHECKPOINT = "StaleCheckpoint"
    STALE_TREE_SIZE = "StaleTreeSize"
    GREW = "FrozenShardGrew"
    CORRUPT = "StoreCorrupt"
    HOME = "HomeUnhealthy"


STALE_REPLICA: Final = "rekor.checkpoint.stale_replica"
HOME: Final = "attestor.home.unhealthy"
DIVERGENCE: Final = "rekor.checkpoint.divergence"
ROLLBACK: Final = "rekor.checkpoint.rollback"
CROSS_LOG: Final = "rekor.checkpoint.cross_log_divergence"
STALE: Final = "rekor.checkpoint.stale"
GREW: Final = "rekor.shard.grew"
CORRUPT: Final = "attestor.store.corrupt"
# What a log holds, and what it lacks, says nothing about the log.
ABOUT_ENTRIES: Final = ("rekor.entry.", "rekor.expected.")


@frozen
class Alarm:
    """One condition, before it is stored and gets its id."""

    condition: str  # what makes two findings the same one
    type: str  # of Anomaly, or another subsystem's
    event_type: str
    severity: Severity
    fields: Mapping[str, Any]  # of the payload, after the envelope; JSON-able, in order


def payload(alarm: Alarm, detected_at: int, tenant: str, stream: str) -> dict[str, Any]:
    """Return the payload without its `id`, which whoever stores the alert puts first."""
    time = datetime.fromtimestamp(detected_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "eventType": alarm.event_type,
        "severity": alarm.severity.value,
        "detectedAt": time,
        "tenant": tenant,
        "stream": stream,
        **alarm.fields,
    }


def condition_of(anomaly: Anomaly, *about: str) -> str:
    """Name a condition: what was found, and of which log, backend or mirror."""
    return " ".join((anomaly.value, *about))


def divergence_alarm(
    anomaly: Anomaly,
    *,
    origin: str,
    tree_size: int,
    expected_root: Hash,
    actual_root: Hash,
    backend: str,
    description: str,
) -> Alarm:
    """Two roots for one size, or a larger tree that ours is no prefix of."""
    return Alarm(
        condition_of(anomaly, origin, backend),
        anomaly.value,
        DIVERGENCE,
        Severity.CRITICAL,
        {
            "origin": origin,
            "treeSize": tree_size,
            "expectedRootHash": root_text(expected_root),
            "actualRootHash": root_text(actual_root),
            "backend": backend,
            "description": description,
            "recommendedAction": "Quarantine",
        },
    )


def rollback_alarm(
    *, origin: str, previous_size: int, attempted_size: int, backend: str, description: str
) -> Alarm:
    """A smaller tree that is no proven prefix of ours."""
    return Alarm(
        condition_of(Anomaly.ROLLBACK, origin, backend),
        Anomaly.ROLLBACK.value,
        ROLLBACK,
        Severity.CRITICAL,
        _smaller(origin, previous_size, attempted_size, backend, description),
    )


def stale_replica_alarm(
    severity: Severity,
    *,
    origin: str,
    previous_size: int,
    attempted_size: int,
    backend: str,
    description: str,
) -> Alarm:
    """A backend that offered a proven prefix of our tree: a notice, or if it goes on a warning."""
    return Alarm(
        stale_replica_condition(severity, origin, backend),
        Anomaly.STALE_REPLICA.value,
        STALE_REPLICA,
        severity,
        _smaller(origin, previous_size, attempted_size, backend, description),
    )


def stale_replica_condition(severity: Severity, origin: str, backend: str) -> str:
    """Name the condition of a stale replica: the notice and the warning are two."""
    notice = (severity.value,) if severity is Severity.INFO else ()
    return condition_of(Anomaly.STALE_REPLICA, *notice, origin, backend)


def _smaller(
    origin: str, previous_size: int, attempted_size: int, backend: str, description: str
) -> Mapping[str, Any]:
    return {
        "origin": origin,
        "previousTreeSize": previous_size,
        "attemptedTreeSize": attempted_size,
        "backend": backend,
        "description": description,
    }


def cross_log_alarm(
    severity: Severity,
    *,
    primary_origin: str,
    mirror_origin: str,
    mirror: str,
    tree_size: int,
    primary_root: Hash | None,
    mirror_root: Hash | None,
    description: str,
) -> Alarm:
    """A mirror that contradicts its log (critical), or stays behind it (warning)."""
    return Alarm(
        condition_of(Anomaly.CROSS_LOG, severity.value, primary_origin, mirror),
        Anomaly.CROSS_LOG.value,
        CROSS_LOG,
        severity,
        {
            "primaryOrigin": primary_origin,
            "mirrorOrigin": mirror_origin,
            "treeSize": tree_size,
            "primaryRootHash": primary_root and root_text(primary_root),
            "mirrorRootHash": mirror_root and root_text(mirror_root),
            "description": description,
        },
    )


def stale_alarm(
    anomaly: Anomaly,
    *,
    origin: str,
    tree_size: int,
    age: int,
    threshold: int,
    backend: str,
    description: str,
) -> Alarm:
    """A checkpoint nobody vouched for, or a tree that has not grown, for too long."""
    return Alarm(
        condition_of(anomaly, origin),
        anomaly.value,
        STALE,
        Severity.WARNING,
        {
            "origin": origin,
            "treeSize": tree_size,
            "ageSeconds": age,
            "thresholdSeconds": threshold,
            "backend": backend,
            "description": description,
        },
    )


def grew_alarm(
    *, origin: str, frozen_size: int, tree_size: int, backend: str, description: str
) -> Alarm:
    """A log that grew after it said, or its trusted root said, that it never would again."""
    return Alarm(
        condition_of(Anomaly.GREW, origin),
        Anomaly.GREW.value,
        GREW,
        Severity.CRITICAL,
        {
            "origin": origin,
            "frozenTreeSize": frozen_size,
            "treeSize": tree_size,
            "backend": backend,
            "description": description,
        },
    )


def home_alarm(problem: Problem) -> Alarm:
    """Something at this site that keeps it from its work: a job, the queue, the disk, the clock."""
    return Alarm(
        home_condition(problem),
        Anomaly.HOME.value,
        HOME,
        Severity.CRITICAL if problem.is_critical else Severity.WARNING,
        {
            "problem": problem.kind.value,
            "about": problem.about,
            "ageSeconds": problem.age,
            "thresholdSeconds": problem.threshold,
            "description": problem.text,
            "recommendedAction": problem.next_step,
        },
    )


def home_condition(problem: Problem) -> str:
    """Name the condition of a problem; a warning that becomes critical is another one."""
    degree = Severity.CRITICAL if problem.is_critical else Severity.WARNING
    return condition_of(Anomaly.HOME, problem.kind.value, degree.value, problem.about).rstrip()


def corrupt_alarm(*, origin: str, blobs: Sequence[str], description: str) -> Alarm:
    """Our own tiles no longer lead to a root we proved: damage here, not an attack."""
    return Alarm(
        condition_of(Anomaly.CORRUPT, origin),
        Anomaly.CORRUPT.value,
        CORRUPT,
        Severity.CRITICAL,
        {"origin": origin, "blobs": list(blobs), "description": description},
    )


def root_text(root: Hash) -> str:
    """Write a root as payloads do."""
    return f"sha256:{root.hex()}"
