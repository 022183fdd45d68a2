"""The rules of docs/divergence.md: from how two heads stand to what is to be said of it.

Each rule is given facts and returns judgements: the name of a condition with the alarm if
it holds, None if it is over. Nothing here knows a store or a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from appliance.policy.alarms import (
    Alarm,
    Anomaly,
    Severity,
    condition_of,
    cross_log_alarm,
    divergence_alarm,
    grew_alarm,
    rollback_alarm,
    stale_alarm,
    stale_replica_alarm,
    stale_replica_condition,
)
from appliance.policy.relate import Contradiction, Rule
from appliance.times import age_text
from appliance.tlog.merkle import TreeHead
from appliance.value import frozen

Judgement: TypeAlias = tuple[str, Alarm | None]

REPEATED: Final = 2  # answers in a row that make a stale replica worth a warning

_ANOMALIES: Final = {
    Rule.ROOT_MISMATCH: Anomaly.ROOT_MISMATCH,
    Rule.FORK: Anomaly.FORK,
    Rule.ROLLBACK: Anomaly.ROLLBACK,
}


def contradiction_alarm(
    contradiction: Contradiction,
    *,
    origin: str,
    backend: str,
    is_mirror: bool,
    ours: TreeHead,
    theirs: TreeHead,
    found_in: str | None = None,
) -> Alarm:
    """Root mismatch, fork and rollback; from a mirror of the log each is cross-log divergence.

    `found_in` names the file or URL of a note that no backend offered.
    """
    size, actual = contradiction.tree_size, contradiction.actual_root
    root = theirs.root_hash.hex()
    said = f"{found_in or backend} offered {theirs.tree_size} entries, root {root}; "
    if is_mirror:
        return cross_log_alarm(
            Severity.CRITICAL,
            primary_origin=origin,
            mirror_origin=origin,
            mirror=backend,
            tree_size=size,
            primary_root=contradiction.expected_root,
            mirror_root=actual,
            description=said + str(contradiction),
        )
    if contradiction.rule is Rule.ROLLBACK:
        return rollback_alarm(
            origin=origin,
            previous_size=ours.tree_size,
            attempted_size=theirs.tree_size,
            backend=backend,
            description=f"{said}our tree has root {contradiction.expected_root.hex()} there",
        )
    return divergence_alarm(
        _ANOMALIES[contradiction.rule],
        origin=origin,
        tree_size=size,
        expected_root=contradiction.expected_root,
        actual_root=actual,
        backend=backend,
        description=f"{said}we hold {ours.tree_size} entries, and they differ: {contradiction}",
    )


def judge_replica(
    *, origin: str, backend: str, our_size: int, offered_size: int, times: int, notices: bool
) -> Iterator[Judgement]:
    """Judge a backend that offered a proven prefix of our tree `times` in a row; 0: it did not.

    Once happens behind any load balancer, and is a notice to who wants `notices`. Again is
    worth a warning.
    """
    often = f"{times} times in a row" if times > 1 else "once"
    severity = Severity.WARNING if times >= REPEATED else Severity.INFO
    alarm = stale_replica_alarm(
        severity,
        origin=origin,
        previous_size=our_size,
        attempted_size=offered_size,
        backend=backend,
        description=f"{backend} offered an older head {often}; it is a proven"
        " prefix of our tree, so a stale replica, not a lie",
    )
    told = times >= REPEATED or (times > 0 and notices)
    for one in (Severity.INFO, Severity.WARNING):
        condition = stale_replica_condition(one, origin, backend)
        yield condition, alarm if told and one is severity else None


def judge_mirror_lag(
    *,
    primary_origin: str,
    mirror_origin: str,
    mirror: str,
    ours: TreeHead,
    offered_size: int,
    lag: int,
    threshold: float,
) -> Judgement:
    """Judge a mirror that is `lag` seconds behind its log: tolerated up to `threshold`."""
    condition = condition_of(Anomaly.CROSS_LOG, Severity.WARNING.value, primary_origin, mirror)
    if lag <= threshold:
        return condition, None
    return condition, cross_log_alarm(
        Severity.WARNING,
        primary_origin=primary_origin,
        mirror_origin=mirror_origin,
        mirror=mirror,
        tree_size=offered_size,
        primary_root=None,
        mirror_root=None,
        description=f"{mirror} has stayed behind for {age_text(lag)} at {offered_size} entries, the"
        f" log has {ours.tree_size}; tolerated are {age_text(threshold)}",
    )


@frozen
class Limits:
    """Beyond which ages a log is stale. Seconds."""

    checkpoint: float  # divergenceDetection.staleCheckpointThreshold
    tree_size: float  # divergenceDetection.staleTreeSizeThreshold


def judge_age(
    *,
    origin: str,
    backend: str,
    tree_size: int,
    age: int,
    growth_age: int,
    limits: Limits,
    is_frozen: bool,
) -> Iterator[Judgement]:
    """Judge the age of a checkpoint, and how long ago its log grew; a frozen log is never stale."""
    for anomaly, seconds, threshold, text in (
        (Anomaly.STALE_CHECKPOINT, age, limits.checkpoint, "the log has not answered for"),
        (Anomaly.STALE_TREE_SIZE, growth_age, limits.tree_size, "the log has not grown for"),
    ):
        alarm = None
        if seconds > threshold and not is_frozen:
            alarm = stale_alarm(
                anomaly,
                origin=origin,
                tree_size=tree_size,
                age=seconds,
                threshold=int(threshold),
                backend=backend,
                description=f"checkpoint {tree_size} of {origin}: {text}"
                f" {age_text(seconds)}, allowed are {age_text(threshold)}",
            )
        yield condition_of(anomaly, origin), alarm


def frozen_growth_alarm(
    *,
    origin: str,
    backend: str,
    old_size: int,
    new_size: int,
    freeze_line: str,
    window_ended: bool,
) -> Alarm | None:
    """Judge growth from a size that the log had said, or its trusted root says, is its last.

    `freeze_line` is what a note of the old size says, empty if none does; `window_ended`
    whether the old size was still offered after the end of the log's window.
    """
    if new_size <= old_size or not (freeze_line or window_ended):
        return None
    why = (
        f"which the log signed as frozen ({freeze_line})"
        if freeze_line
        else "after the end of its window in the trusted root"
    )
    return grew_alarm(
        origin=origin,
        frozen_size=old_size,
        tree_size=new_size,
        backend=backend,
        description=f"{origin} grew to {new_size} entries from {old_size}, {why}",
    )
