"""What is looked at once a checkpoint was absorbed, by sync and by import alike."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import DivergenceError, IncompleteError
from appliance.jobs.divergence.gossip import compare_waiting
from appliance.jobs.divergence.incident import CROSS_LOG, keep_alarming, keys_described
from appliance.jobs.divergence.judge import apply_judgements, end_what_nobody_asks, judge_log
from appliance.jobs.home.configure import read_configuration
from appliance.jobs.local_tiles import our_root_at
from appliance.policy.alarms import (
    Anomaly,
    Severity,
    condition_of,
    cross_log_alarm,
    root_text,
)
from appliance.policy.divergence import Judgement, judge_mirror_lag
from appliance.store.database import Store
from appliance.store.home.counters import count
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.logs import Log, all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import all_private_logs
from appliance.tlog.merkle import Hash
from appliance.tlog.tile_tree import TileTree

# Compare a log with the mirror logs that are configured to copy it (mirrorOrigins).


def cross_check(store: Store, log: Log, now: int) -> tuple[str, ...]:
    """Compare a log that was just synced with its mirror logs, or its primary if it is one.

    Returns what is to be said. Raises DivergenceError, evidence stored, for a mirror that
    contradicts its log at the same size, and StoreError.
    """
    configuration = read_configuration(store)
    origins = configuration.mirror_origins
    if not origins or not (
        configuration.flag("divergenceDetection.enabled")
        and configuration.flag("divergenceDetection.enableCrossLogChecks")
    ):
        return ()
    private = {one.log.id for one in all_private_logs(store)}
    logs = [one for one in all_logs(store) if one.id not in private]
    mirrors = [one for one in logs if one.origin in origins]
    primaries = [one for one in logs if one.origin not in origins]
    if len(primaries) != 1:
        return (
            f"divergenceDetection.mirrorOrigins: there are {len(primaries)} logs that could be"
            " the primary, so nothing was compared; expected exactly one beside its mirrors",
        )
    said: list[str] = []
    threshold = configuration.seconds("divergenceDetection.staleCheckpointThreshold")
    for mirror in mirrors:
        if log.id in (mirror.id, primaries[0].id):
            said += _compare(store, primaries[0], mirror, threshold, now)
    return tuple(said)


def _compare(store: Store, primary: Log, mirror: Log, threshold: int, now: int) -> Sequence[str]:
    ours = Mirror(store, primary).history.accepted()
    theirs = Mirror(store, mirror).history.accepted()
    if ours is None or theirs is None:
        return ()
    size = min(ours.head.tree_size, theirs.head.tree_size)
    roots = _root_at(store, primary, ours, size), _root_at(store, mirror, theirs, size)
    if roots[0] is not None and roots[1] is not None and roots[0] != roots[1]:
        raise _contradiction(store, primary, mirror, (ours, theirs), size, roots[0], roots[1], now)
    behind = theirs.head.tree_size < ours.head.tree_size
    judged = judge_mirror_lag(
        primary_origin=primary.origin,
        mirror_origin=mirror.origin,
        mirror=mirror.origin,
        ours=ours.head,
        offered_size=theirs.head.tree_size,
        lag=max(now - theirs.first_seen_at, 0) if behind else 0,
        threshold=threshold,
    )
    agree = roots[0] is not None and roots[0] == roots[1]
    about = (Severity.CRITICAL.value, primary.origin, mirror.origin)
    over: list[Judgement] = [(condition_of(Anomaly.CROSS_LOG, *about), None)] if agree else []
    return apply_judgements(store, mirror, [judged, *over], now)


def _root_at(store: Store, log: Log, accepted: AcceptedCheckpoint, size: int) -> Hash | None:
    mirror = Mirror(store, log)
    if (known := mirror.history.at(size)) is not None:
        return known.head.root_hash
    try:
        return our_root_at(mirror, TileTree(accepted.head), size)
    except IncompleteError:
        return None  # without tiles they meet at a size that both signed, or not at all


def _contradiction(
    store: Store,
    primary: Log,
    mirror: Log,
    heads: tuple[AcceptedCheckpoint, AcceptedCheckpoint],
    size: int,
    primary_root: Hash,
    mirror_root: Hash,
    now: int,
) -> DivergenceError:
    description = (
        f"{mirror.origin} is configured as a mirror of {primary.origin}, but at {size} entries"
        f" their roots are {mirror_root.hex()} and {primary_root.hex()}"
    )
    alarm = cross_log_alarm(
        Severity.CRITICAL,
        primary_origin=primary.origin,
        mirror_origin=mirror.origin,
        mirror=mirror.origin,
        tree_size=size,
        primary_root=primary_root,
        mirror_root=mirror_root,
        description=description,
    )
    notes = tuple(
        (Mirror(store, log).history.at(size) or head).note
        for log, head in zip((primary, mirror), heads, strict=True)
    )
    details = {
        "treeSize": size,
        "expectedRootHash": root_text(primary_root),
        "actualRootHash": root_text(mirror_root),
        "keys": keys_described((*primary.keys, *mirror.keys)),
        "source": heads[1].detail,
    }
    evidence_id, number = keep_alarming(store, primary, alarm, (notes[0], notes[1]), details, now)
    with store.atomic():
        count(store, CROSS_LOG, {"primary": primary.origin, "mirror": mirror.origin})
    return DivergenceError(
        description,
        reason="cross-log-divergence",
        next_step=f"alert {number}, both signed notes are kept as evidence {evidence_id}; find out"
        " which of the two is wrong, and disable that backend until it is explained",
        evidence_id=evidence_id,
    )


def follow_up(mirror: Mirror, backend: str, now: int) -> tuple[str, ...]:
    """Compare with what was seen elsewhere and with mirror logs, and judge the age.

    `backend` is who was asked. Returns what is to be said. Raises DivergenceError, evidence
    stored, CorruptError if our own tiles are damaged, and StoreError.
    """
    compare_waiting(mirror, now)
    end_what_nobody_asks(mirror.store, mirror.log, now)
    said = cross_check(mirror.store, mirror.log, now)
    return (*said, *judge_log(mirror.store, mirror.log, backend, now))
