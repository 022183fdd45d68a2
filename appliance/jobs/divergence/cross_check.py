"""What is looked at once checkpoints were absorbed, by sync and by import alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from appliance.errors import ApplianceError, CorruptError, DivergenceError
from appliance.jobs.divergence.gossip import compare_waiting
from appliance.jobs.divergence.incident import CROSS_LOG, keep_alarming, keys_described
from appliance.jobs.divergence.judge import apply_judgements, end_what_nobody_asks, judge_log
from appliance.jobs.divergence.mirror_logs import Pair, pairs
from appliance.jobs.home.configure import read_configuration
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
from appliance.store.mirror.logs import Log, all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.log_source import ProvingSource
from appliance.tlog.merkle import Hash
from appliance.value import frozen


@frozen
class CrossChecked:
    """What came of comparing logs with the mirror logs that copy them."""

    said: tuple[str, ...] = ()
    errors: tuple[ApplianceError, ...] = ()  # evidence is stored


def cross_check(store: Store, logs: Collection[Log], now: int) -> CrossChecked:
    """Compare the logs that this run absorbed with their mirror logs (mirrorOrigins), each once.

    Called at the end of a run, when all of them had their turn. Raises ConfigError or StoreError.
    """
    configuration = read_configuration(store)
    try:
        found, lacking = pairs(store, configuration)
    except CorruptError as error:
        return CrossChecked(errors=(error,))
    said = [str(one) for one in lacking]
    errors: list[ApplianceError] = []
    threshold = configuration.seconds("divergenceDetection.staleCheckpointThreshold")
    absorbed = {log.id for log in logs}
    for pair in found:
        if absorbed & {pair.primary.id, pair.mirror.id}:
            try:
                said += _judge(store, pair, threshold, now)
            except DivergenceError as error:
                errors.append(error)
    return CrossChecked(tuple(said), tuple(errors))


def _judge(store: Store, pair: Pair, threshold: int, now: int) -> Sequence[str]:
    primary, mirror, (ours, theirs) = pair.primary, pair.mirror, pair.heads
    if pair.agrees is False:
        raise _contradiction(store, pair, now)
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
    over: list[Judgement] = []
    if pair.agrees:  # whichever log it was held against before
        over = [
            (
                condition_of(Anomaly.CROSS_LOG, Severity.CRITICAL.value, log.origin, mirror.origin),
                None,
            )
            for log in all_logs(store)
            if log.id != mirror.id
        ]
    return apply_judgements(store, mirror, [judged, *over], now)


def _contradiction(store: Store, pair: Pair, now: int) -> DivergenceError:
    primary, mirror, size = pair.primary, pair.mirror, pair.tree_size
    ours, theirs = _roots(pair)
    of = primary.origin
    if pair.instead_of:
        of = "one of " + " and ".join((of, *(one.origin for one in pair.instead_of)))
    description = (
        f"{mirror.origin} is configured as a mirror of {of}, but at {size} entries its root is"
        f" {theirs.hex()}, {primary.origin} has {ours.hex()}"
    )
    alarm = cross_log_alarm(
        Severity.CRITICAL,
        primary_origin=primary.origin,
        mirror_origin=mirror.origin,
        mirror=mirror.origin,
        tree_size=size,
        primary_root=ours,
        mirror_root=theirs,
        description=description,
    )
    notes = tuple(
        (Mirror(store, log).history.at(size) or head).note
        for log, head in zip((primary, mirror), pair.heads, strict=True)
    )
    details = {
        "treeSize": size,
        "expectedRootHash": root_text(ours),
        "actualRootHash": root_text(theirs),
        "keys": keys_described((*primary.keys, *mirror.keys)),
        "source": pair.heads[1].detail,
    }
    evidence_id, number = keep_alarming(
        store, primary, alarm, (notes[0], notes[1]), details, now, once=True
    )
    with store.atomic():
        count(store, CROSS_LOG, {"primary": primary.origin, "mirror": mirror.origin})
    return DivergenceError(
        description,
        reason="cross-log-divergence",
        next_step=f"alert {number}, both signed notes are kept as evidence {evidence_id}; find out"
        " which of the two is wrong, and disable that backend until it is explained",
        evidence_id=evidence_id,
    )


def _roots(pair: Pair) -> tuple[Hash, Hash]:
    ours, theirs = pair.roots
    if ours is None or theirs is None:
        raise ValueError("logs whose roots are not known contradict nobody")
    return ours, theirs


def follow_up(
    mirror: Mirror, backend: str, now: int, source: ProvingSource | None = None
) -> tuple[str, ...]:
    """Compare with what was seen elsewhere, and judge the age.

    `backend` is who was asked, `source` what proves by itself, if it does. Returns what is to
    be said. Raises DivergenceError, evidence stored, CorruptError if our own tiles are damaged,
    and StoreError.
    """
    compare_waiting(mirror, now, source)
    end_what_nobody_asks(mirror.store, mirror.log, now)
    return judge_log(mirror.store, mirror.log, backend, now)
