"""Judge what a sync or an import found and what is wrong with this site: alerts begin, go on, end.

The rules (docs/divergence.md) are policy/divergence's and policy/health's; here are their facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from appliance.config.configuration import Configuration
from appliance.errors import CorruptError
from appliance.jobs.divergence.alarm import raise_alarm
from appliance.jobs.divergence.health import home_health, is_complete_shard
from appliance.jobs.home.configure import read_configuration
from appliance.jobs.last_vouched import last_vouched
from appliance.policy.alarms import (
    HOME,
    Anomaly,
    Severity,
    condition_of,
    corrupt_alarm,
    home_alarm,
    home_condition,
    stale_replica_condition,
)
from appliance.policy.divergence import (
    Judgement,
    Limits,
    judge_age,
    judge_mirror_lag,
    judge_replica,
)
from appliance.policy.health import Problem, ProblemKind
from appliance.store.database import Store
from appliance.store.divergence.alerts import alerts, end_alert, lasting_alerts_of
from appliance.store.home.runs import BackendRun
from appliance.store.mirror.logs import Backend, Log, all_backends, is_left
from appliance.store.mirror.mirror import Mirror
from appliance.value import frozen


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
                if alarm.severity is Severity.INFO:
                    continue  # whoever found it says it
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
    vouched_at, is_frozen = last_vouched(mirror, accepted, now)
    mirrored = mirror.history.mirror_checkpoint()
    judged = judge_age(
        origin=log.origin,
        backend=backend,
        tree_size=accepted.head.tree_size,
        # No quorum ever vouched for it at a time that has come: as old as it can be.
        age=max(now - (accepted.first_seen_at if vouched_at is None else vouched_at), 0),
        growth_age=max(now - accepted.first_seen_at, 0),
        limits=_limits(configuration, _primary_of(store, log, backend)),
        is_frozen=is_frozen
        or is_left(store, log)
        or is_complete_shard(mirror, mirrored, accepted, now),
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
        answered = [
            *judge_replica(
                origin=origin,
                backend=backend.name,
                our_size=accepted.head.tree_size,
                offered_size=offered_size,
                times=run.behind_count,
                notices=configuration.flag("alerts.alertOnInfo"),
            )
        ]
    else:
        judged = judge_mirror_lag(
            primary_origin=origin,
            mirror_origin=origin,
            mirror=backend.name,
            ours=accepted.head,
            offered_size=offered_size,
            lag=0 if run.behind_since is None else max(now - run.behind_since, 0),
            threshold=_limits(configuration, backend.name).checkpoint,
        )
        answered = [judged]
    if run.behind_count == 0:
        # What a program before 0.2.0 told of a head that nothing could be compared with.
        about = (Severity.CRITICAL.value, origin, backend.name)
        answered.append((condition_of(Anomaly.ROLLBACK, origin, backend.name), None))
        answered.append((condition_of(Anomaly.CROSS_LOG, *about), None))
    return apply_judgements(store, backend.log, answered, now)


def end_what_nobody_asks(store: Store, log: Log, now: int) -> None:
    """End the alerts about lagging backends of a log that are not visited any more."""
    visited = {
        backend.name for backend in all_backends(store) if backend.enabled and backend.log == log
    }
    with store.atomic():
        for start in (
            stale_replica_condition(Severity.INFO, log.origin, ""),
            stale_replica_condition(Severity.WARNING, log.origin, ""),
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
    error.is_told = True


def end_damage(store: Store, log: Log, now: int) -> None:
    """Say that all tiles of a log were audited and are whole."""
    with store.atomic():
        end_alert(store, condition_of(Anomaly.CORRUPT, log.origin), now)


def _limits(configuration: Configuration, backend: str) -> Limits:
    checkpoint, tree_size = (
        configuration.threshold(name, backend)
        for name in ("staleCheckpointThreshold", "staleTreeSizeThreshold")
    )
    never = float("inf")
    return Limits(
        never if checkpoint is None else checkpoint, never if tree_size is None else tree_size
    )


def _primary_of(store: Store, log: Log, backend: str) -> str:
    """Return the backend whose thresholds a log has: its primary, whoever was asked."""
    own = [one for one in all_backends(store) if one.log == log and one.mirror_of is None]
    return own[0].name if own else backend


@frozen
class SiteChanges:
    """What began to be wrong with this site since it was last judged, and what is over."""

    begun: tuple[Problem, ...] = ()
    over: tuple[str, ...] = ()  # conditions


def judge_site(store: Store, now: int, clock_behind: str | None) -> SiteChanges:
    """Compare what is wrong with this site with the alerts that last; changes nothing.

    Raises StoreError or ConfigError.
    """
    if not read_configuration(store).flag("divergenceDetection.enabled"):
        return SiteChanges()
    found = home_health(store, now, clock_behind=clock_behind)
    problems = [*found.problems, *(problem for status in found.logs for problem in status.problems)]
    # Alerts that do not get through are told by everything but one more alert.
    told = {
        home_condition(problem): problem
        for problem in problems
        if problem.kind is not ProblemKind.ALERTS and not problem.is_new
    }
    lasting = {alert.condition for alert in alerts(store, lasting=True) if alert.event_type == HOME}
    return SiteChanges(
        tuple(one for name, one in told.items() if name not in lasting),
        tuple(sorted(lasting - told.keys())),
    )


def apply_site(store: Store, changes: SiteChanges, now: int) -> tuple[str, ...]:
    """Raise and end the alerts about this site; return what is to be said."""
    said = []
    with store.atomic():
        for condition in changes.over:
            end_alert(store, condition, now)
        for one in changes.begun:
            number = raise_alarm(store, home_alarm(one), now)
            said.append(f"alert {number}: {one.text}")
    return tuple(said)
