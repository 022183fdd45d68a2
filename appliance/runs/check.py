"""check: what a monitoring plugin has to say of a home, and how bad it is."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf
from typing import Final

import click

from appliance.config.configuration import shown_sink
from appliance.jobs.divergence.health import (
    HomeHealth,
    LogStatus,
    home_health,
    limits_of,
    log_status,
)
from appliance.policy.alarms import HOME
from appliance.policy.health import AgeLimits, Health, ProblemKind
from appliance.report.plugin import (
    CheckLine,
    PerformanceValue,
    PluginState,
    state_of,
    worst_state,
)
from appliance.runs.session import Session
from appliance.store.database import Store
from appliance.store.divergence.alerts import alerts
from appliance.store.divergence.outbox import undelivered
from appliance.store.find.watches import overdue
from appliance.store.mirror.logs import Backend, all_backends, require_backend
from appliance.store.private_log.private_logs import all_private_logs
from appliance.store.queue.queue import held_count
from appliance.times import age_text
from appliance.value import frozen

_TOLD_BY: Final = "attestor alerts send; attestor watch matches"
TRIES_BEFORE_WARNING: Final = 3  # of a delivery: a sink that restarts is none of Nagios' business


@frozen
class GivenLimits:
    """Ages given for all logs; None: as set."""

    degraded: int | float | None = None  # seconds
    unhealthy: int | float | None = None

    def of(self, stored: AgeLimits) -> AgeLimits:
        """Return the limits of a log; raises UsageError if they are in the wrong order."""
        limits = AgeLimits(
            stored.degraded if self.degraded is None else self.degraded,
            stored.unhealthy if self.unhealthy is None else self.unhealthy,
        )
        if limits.degraded > limits.unhealthy:
            raise click.UsageError(
                f"expected --warning up to --critical, got {age_text(limits.degraded)} and"
                f" {age_text(limits.unhealthy)}"
            )
        return limits


@frozen
class CheckRun:
    """What a plugin has to say of a home."""

    said: tuple[CheckLine, ...]
    values: tuple[PerformanceValue, ...]
    logs: tuple[LogStatus, ...]
    home: HomeHealth
    unacked: int  # critical alerts that nobody has acknowledged
    queue_depth: int

    @property
    def state(self) -> PluginState:
        """The state of the whole."""
        return worst_state(self.said)


def check_home(session: Session, limits: GivenLimits, names: Sequence[str]) -> CheckRun:
    """Judge the named backends, or all that stand for a log of their own, and the home.

    Raises UsageError for limits in the wrong order, ConfigError for an unknown name.
    """
    with session.reading() as store:
        return _look(session, store, limits, names)


def _look(session: Session, store: Store, limits: GivenLimits, names: Sequence[str]) -> CheckRun:
    now, chosen = session.now(), _chosen(store, names)
    configuration = session.configuration
    home = home_health(store, now, clock_behind=session.clock.behind, backends=[])
    found = [
        log_status(store, one, limits.of(limits_of(configuration, one)), now) for one in chosen
    ]
    if not found:
        limits.of(AgeLimits(float("-inf"), float("inf")))
    said = [CheckLine(state_of(one.health), _text(one)) for one in found]
    if not found:
        said.append(
            CheckLine(PluginState.UNKNOWN, "no enabled backend; see 'attestor backend list'")
        )
    said += [
        CheckLine(
            PluginState.CRITICAL if problem.is_critical else PluginState.WARNING,
            f"{problem.text}: {problem.next_step}",
        )
        for problem in home.problems
    ]
    said += [
        CheckLine(PluginState.CRITICAL, f"watch {name}: {n:,} that nobody expected: {_TOLD_BY}")
        for name, n in overdue(store, now).items()
    ]
    unacked = sum(
        alert.severity == "critical" and alert.event_type != HOME
        for alert in alerts(store, unacked=True)
    )
    if unacked:
        plural = "alert is" if unacked == 1 else "alerts are"
        text = f"{unacked} critical {plural} not acknowledged: attestor alerts list --unacked"
        said.append(CheckLine(PluginState.CRITICAL, text))
    stuck = [one for one in undelivered(store) if one.attempts >= TRIES_BEFORE_WARNING]
    if stuck and not any(problem.kind is ProblemKind.ALERTS for problem in home.problems):
        text = f"alerts do not reach {shown_sink(stuck[0].sink)}: attestor alerts send --all"
        said.append(CheckLine(PluginState.WARNING, text))
    depth = held_count(store)
    values = [value for one in found for value in _values(one)]
    values.append(PerformanceValue("queue_depth", depth))
    values.append(PerformanceValue("unacked_critical_alerts", unacked, critical=0))
    return CheckRun(tuple(said), tuple(values), tuple(found), home, unacked, depth)


def _chosen(store: Store, names: Sequence[str]) -> list[Backend]:
    if names:
        return [require_backend(store, name) for name in names]
    private = {log.name for log in all_private_logs(store)}
    return [
        backend
        for backend in all_backends(store)
        if backend.enabled and backend.mirror_of is None and backend.name not in private
    ]


def _text(one: LogStatus) -> str:
    if one.reasons:
        return f"{one.backend.name} {one.health.value}: {', '.join(one.reasons)}"
    age = "" if one.age is None else f", {age_text(one.age)} old"
    return f"{one.backend.name} {one.health.value}: {one.tree_size or 0:,} entries{age}"


def _values(one: LogStatus) -> list[PerformanceValue]:
    name, limits = one.backend.name, one.limits
    values = []
    if one.age is not None:
        is_frozen = one.health is Health.FROZEN
        bounds = (limits.degraded, limits.unhealthy)
        ages = [None if is_frozen or isinf(bound) else bound for bound in bounds]
        values.append(PerformanceValue(f"{name}_age", one.age, "s", *ages))
    if one.tree_size is not None:
        values.append(PerformanceValue(f"{name}_tree_size", one.tree_size))
    if one.coverage is not None:
        values.append(PerformanceValue(f"{name}_coverage", one.coverage.percent, "%"))
    return values
