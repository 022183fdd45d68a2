"""The payloads of alerts, field by field."""

from __future__ import annotations

import json

import pytest

from appliance.policy.alarms import (
    Alarm,
    Anomaly,
    Severity,
    corrupt_alarm,
    cross_log_alarm,
    divergence_alarm,
    grew_alarm,
    payload,
    rollback_alarm,
    stale_alarm,
    stale_replica_alarm,
)
from appliance.tlog.merkle import Hash

ENVELOPE = ["eventType", "severity", "detectedAt", "tenant", "stream"]
A, B = Hash(b"\x0a" * 32), Hash(b"\x0b" * 32)

CASES = {
    "divergence": (
        divergence_alarm(
            Anomaly.FORK,
            origin="log.example",
            tree_size=7,
            expected_root=A,
            actual_root=B,
            backend="sim",
            description="d",
        ),
        "rekor.checkpoint.divergence",
        "critical",
        [
            *("origin", "treeSize", "expectedRootHash", "actualRootHash", "backend"),
            *("description", "recommendedAction"),
        ],
    ),
    "rollback": (
        rollback_alarm(
            origin="log.example",
            previous_size=9,
            attempted_size=7,
            backend="sim",
            description="d",
        ),
        "rekor.checkpoint.rollback",
        "critical",
        ["origin", "previousTreeSize", "attemptedTreeSize", "backend", "description"],
    ),
    "stale replica": (
        stale_replica_alarm(
            Severity.WARNING,
            origin="log.example",
            previous_size=9,
            attempted_size=7,
            backend="sim",
            description="d",
        ),
        "rekor.checkpoint.stale_replica",
        "warning",
        ["origin", "previousTreeSize", "attemptedTreeSize", "backend", "description"],
    ),
    "cross log": (
        cross_log_alarm(
            Severity.CRITICAL,
            primary_origin="log.example",
            mirror_origin="mirror.example",
            mirror="copy",
            tree_size=7,
            primary_root=A,
            mirror_root=B,
            description="d",
        ),
        "rekor.checkpoint.cross_log_divergence",
        "critical",
        [
            *("primaryOrigin", "mirrorOrigin", "treeSize", "primaryRootHash"),
            *("mirrorRootHash", "description"),
        ],
    ),
    "stale": (
        stale_alarm(
            Anomaly.STALE_CHECKPOINT,
            origin="log.example",
            tree_size=7,
            age=4000,
            threshold=3600,
            backend="sim",
            description="d",
        ),
        "rekor.checkpoint.stale",
        "warning",
        ["origin", "treeSize", "ageSeconds", "thresholdSeconds", "backend", "description"],
    ),
    "grew": (
        grew_alarm(
            origin="log.example", frozen_size=7, tree_size=9, backend="sim", description="d"
        ),
        "rekor.shard.grew",
        "critical",
        ["origin", "frozenTreeSize", "treeSize", "backend", "description"],
    ),
    "corrupt": (
        corrupt_alarm(origin="log.example", blobs=["tile/0/000"], description="d"),
        "attestor.store.corrupt",
        "critical",
        ["origin", "blobs", "description"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_payload_has_exactly_the_specified_fields(name: str) -> None:
    alarm, event_type, severity, fields = CASES[name]
    said = payload(alarm, 1_760_000_000, "system", "attestor.alerts")
    assert list(said) == ENVELOPE + fields
    assert [said[field] for field in ENVELOPE] == [
        *(event_type, severity, "2025-10-09T08:53:20Z", "system", "attestor.alerts")
    ]
    assert json.loads(json.dumps(said)) == said


def test_roots_are_written_with_their_algorithm() -> None:
    said = payload(CASES["divergence"][0], 0, "t", "s")
    assert said["expectedRootHash"] == "sha256:" + "0a" * 32
    assert said["recommendedAction"] == "Quarantine"


def test_a_mirror_that_lags_and_one_that_contradicts_are_two_conditions() -> None:
    def about(severity: Severity) -> Alarm:
        return cross_log_alarm(
            severity,
            primary_origin="log.example",
            mirror_origin="log.example",
            mirror="copy",
            tree_size=7,
            primary_root=None,
            mirror_root=None,
            description="d",
        )

    assert about(Severity.WARNING).condition != about(Severity.CRITICAL).condition
    assert payload(about(Severity.WARNING), 0, "t", "s")["primaryRootHash"] is None
