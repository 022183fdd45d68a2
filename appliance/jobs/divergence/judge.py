"""Judge what a sync or an import found, and let alerts begin, go on and end (docs/divergence.md).

The rules are policy/divergence's; here are the facts they need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from appliance.config.configuration import Configuration
from appliance.errors import CorruptError
from appliance.jobs.divergence.alarm import raise_alarm
from appliance.jobs.divergence.health import has_ended, vouched_at
from appliance.jobs.home.configure import read_configuration
from appliance.policy.alarms import Anomaly, Severity, condition_of, corrupt_alarm
from appliance.policy.divergence import (
    Judgement,
    Limits,
    judge_age,
    judge_mirror_lag,
    judge_replica,
)
from appliance.store.database import Store
from appliance.store.divergence.alerts import end_alert, lasting_alerts_of
from appliance.store.home.runs import BackendRun
from appliance.store.mirror.logs import Backend, Log, all_backends
from appliance.store.mirror.mirror import Mirror


def apply_judgements(
    store: Store, log: Log, judgements: Iterable[Judgement], now: int
) -> tuple[str, ...]:
    """Raise the alarms that hold, end the alerts that are over; return what is to be said."""
    said = []
    with store.atomic():
        for condition, alarm in judgements:
            if alarm is None:
                end_alert(store, condition, now)
            else:
                number = raise_alarm(store, alarm, now, log=log)
                said.append(f"alert {number}: {alarm.fields['description']}")
    return tuple(said)


def judge_log(store: Store, log: Log, backend: str, now: int) -> tuple[str, ...]:
    """Judge how old the accepted checkpoint of a log is; return what is to be said.

    `backend` is who was asked last. Raises StoreError or ConfigError.
    """
    configuration = read_configuration(store)
    mirror = Mirror(store, log)
    accepted = mirror.history.accepted()
    if accepted is None or not configuration.flag("divergenceDetection.enabled"):
        return ()
    signed_at, is_frozen = vouched_at(mirror, accepted)
    judged = judge_age(
        origin=log.origin,
        backend=backend,
        tree_size=accepted.head.tree_size,
        age=max(now - signed_at, 0),
        growth_age=max(now - accepted.first_seen_at, 0),
        limits=_limits(configuration),
        is_frozen=is_frozen or has_ended(store, log, now),
    )
    return apply_judgements(store, log, judged, now)


def judge_answer(
    store: Store, backend: Backend, run: BackendRun, offered_size: int, now: int
) -> tuple[str, ...]:
    """Judge a backend by whether what it offers is older than ours; return what is to be said."""
    configuration = read_configuration(store)
    accepted = Mirror(store, backend.log).history.accepted()
    if accepted is None or not configuration.flag("divergenceDetection.enabled"):
        return ()
    origin = backend.log.origin
    if backend.mirror_of is None or not configuration.flag(
        "divergenceDetection.enableCrossLogChecks"
    ):
        judged = judge_replica(
            origin=origin,
            backend=backend.name,
            our_size=accepted.head.tree_size,
            offered_size=offered_size,
            times=run.behind_count,
        )
    else:
        judged = judge_mirror_lag(
            primary_origin=origin,
            mirror_origin=origin,
            mirror=backend.name,
            ours=accepted.head,
            offered_size=offered_size,
            lag=0 if run.behind_since is None else max(now - run.behind_since, 0),
            threshold=_limits(configuration).checkpoint,
        )
    answered = [judged]
    if run.behind_count == 0:
        # It offered what nothing could be compared with, and now our head or a newer one.
        about = (Severity.CRITICAL.value, origin, backend.name)
        answered.append((condition_of(Anomaly.ROLLBACK, origin, backend.name), None))
        answered.append((condition_of(Anomaly.CROSS_LOG, *about), None))
    return apply_judgements(store, backend.log, answered, now)


def end_what_nobody_asks(store: Store, log: Log, now: int) -> None:
    """End the alerts about lagging backends of a log that are not visited any more."""
    visited = {one.name for one in all_backends(store) if one.enabled and one.log == log}
    with store.atomic():
        for start in (
            condition_of(Anomaly.STALE_REPLICA, log.origin, ""),
            condition_of(Anomaly.CROSS_LOG, Severity.WARNING.value, log.origin, ""),
        ):
            for alert in lasting_alerts_of(store, log):
                name = alert.condition.removeprefix(start)
                if name != alert.condition and name not in visited:
                    end_alert(store, alert.condition, now)


@contextmanager
def reporting_damage(store: Store, log: Log, now: int) -> Iterator[None]:
    """Raise an alert for the damage of ours that the block finds, and pass the error on."""
    try:
        yield
    except CorruptError as error:
        report_damage(store, log, error, now)
        raise


def report_damage(store: Store, log: Log, error: CorruptError, now: int) -> None:
    """Raise the alert that tiles of a log are damaged here."""
    alarm = corrupt_alarm(origin=log.origin, blobs=error.blobs, description=error.message)
    with store.atomic():
        raise_alarm(store, alarm, now, log=log)


def end_damage(store: Store, log: Log, now: int) -> None:
    """Say that all tiles of a log were audited and are whole."""
    with store.atomic():
        end_alert(store, condition_of(Anomaly.CORRUPT, log.origin), now)


def _limits(configuration: Configuration) -> Limits:
    return Limits(
        configuration.seconds("divergenceDetection.staleCheckpointThreshold"),
        configuration.seconds("divergenceDetection.staleTreeSizeThreshold"),
    )
