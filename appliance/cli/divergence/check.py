"""check: for Nagios, Icinga and whatever else runs their plugins.

The one command whose codes are not those of all others: 0 to 3, and whatever keeps it
from an answer, wrong usage and a bug of ours included, is 3 (UNKNOWN).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from math import isinf
from typing import Any, Final

import click

from appliance.cli.members import members
from appliance.cli.mirror.status import home_data, status_data
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options, envelope, error_line, is_json, say
from appliance.config.configuration import shown_sink
from appliance.jobs.divergence.health import LogStatus, home_health, limits_of, log_status
from appliance.policy.alarms import HOME
from appliance.policy.health import AgeLimits, Health, ProblemKind
from appliance.report.plugin import (
    PerformanceValue,
    PluginState,
    Said,
    plugin_line,
    state_of,
    worst_state,
)
from appliance.runs.exit_codes import EXIT_CODES, as_ours
from appliance.runs.session import Session, pass_session
from appliance.store.database import Store
from appliance.store.divergence.alerts import alerts
from appliance.store.divergence.outbox import undelivered
from appliance.store.mirror.logs import Backend, all_backends, require_backend
from appliance.store.private_log.private_logs import all_private_logs
from appliance.store.queue.queue import held_count
from appliance.times import age_text
from appliance.value import frozen

TRIES_BEFORE_WARNING: Final = 3  # of a delivery: a sink that restarts is none of Nagios' business


@click.command()
@click.option("--warning", metavar="DURATION", help="Age of a checkpoint.  [default: as set]")
@click.option("--critical", metavar="DURATION", help="Age of a checkpoint.  [default: as set]")
@click.option("--backend", "names", metavar="ID", multiple=True, help="Only this; repeatable.")
@common_options
@pass_session
def check(
    session: Session, warning: str | None, critical: str | None, names: tuple[str, ...]
) -> Result:
    """Say in one line how the mirrored logs are, as plugins of Nagios and Icinga do.

    Ends with 0 OK, 1 WARNING (degraded; a scheduled job, an item of the queue or an alert
    that waits too long), 2 CRITICAL (unhealthy, quarantined, never synced, no room on the
    disk, a clock that is wrong, or a critical alert that nobody has acknowledged) or 3
    UNKNOWN (everything else, wrong usage included). Ages are compared with
    degradedCheckpointAgeThreshold and unhealthyCheckpointAgeThreshold unless given. Private
    logs and mirrors of a log that is listed are left out unless named.

    \b
    Example:
        attestor check
        attestor check --warning 30m --critical 2h --backend public
    """
    try:
        with session.reading() as store:
            limits = _Limits(
                None if warning is None else seconds_option(warning, "--warning", None),
                None if critical is None else seconds_option(critical, "--critical", None),
            )
            said, values, data = _look(session, store, limits, names)
    except tuple(EXIT_CODES) as error:
        ours = as_ours(error)
        return Result(
            members(state=PluginState.UNKNOWN.name),
            plugin_line([Said(PluginState.UNKNOWN, error_line(ours))]),
            errors=(ours,) if is_json() else (),  # the line has it already
            code=PluginState.UNKNOWN,
        )
    state = worst_state(said)
    return Result(members(state=state.name) | data, plugin_line(said, values), code=state)


def run_as_plugin(command: Callable[[], object], *, as_json: bool) -> object:
    """Run the command line of a check; whatever ends it without an answer is UNKNOWN."""
    try:
        return command()
    except click.ClickException as error:
        return _unknown("usage", error.format_message(), as_json)
    except (KeyboardInterrupt, click.Abort):
        return _unknown("interrupted", "interrupted", as_json)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None:
            raise  # our own output cannot be written: nobody can be told

        traceback.print_exc()
        text = f"a bug in the appliance: {type(error).__name__}: {error}"
        return _unknown("bug", text, as_json)


def _unknown(reason: str, text: str, as_json: bool) -> int:
    state = PluginState.UNKNOWN
    described = members(reason=reason, message=text, next="see 'attestor check --help'")
    line = plugin_line([Said(state, text)])
    answer = envelope("check", code=state, data=members(state=state.name), error=described)
    say(answer if as_json else line)
    return state


@frozen
class _Limits:
    """Ages given for all logs; None: as set."""

    degraded: int | float | None
    unhealthy: int | float | None

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


def _look(
    session: Session, store: Store, limits: _Limits, names: tuple[str, ...]
) -> tuple[list[Said], list[PerformanceValue], dict[str, Any]]:

    now, chosen = session.now(), _chosen(store, names)
    configuration = session.configuration
    home = home_health(store, now, clock_behind=session.clock.behind, backends=[])
    found = [
        log_status(store, one, limits.of(limits_of(configuration, one)), now) for one in chosen
    ]
    if not found:
        limits.of(AgeLimits(float("-inf"), float("inf")))
    said = [Said(state_of(one.health), _text(one)) for one in found]
    if not found:
        said.append(Said(PluginState.UNKNOWN, "no enabled backend; see 'attestor backend list'"))
    said += [
        Said(
            PluginState.CRITICAL if one.is_critical else PluginState.WARNING,
            f"{one.text}: {one.next_step}",
        )
        for one in home.problems
    ]
    unacked = sum(
        one.severity == "critical" and one.event_type != HOME for one in alerts(store, unacked=True)
    )
    if unacked:
        plural = "alert is" if unacked == 1 else "alerts are"
        text = f"{unacked} critical {plural} not acknowledged: attestor alerts list --unacked"
        said.append(Said(PluginState.CRITICAL, text))
    stuck = [one for one in undelivered(store) if one.attempts >= TRIES_BEFORE_WARNING]
    if stuck and not any(one.kind is ProblemKind.ALERTS for one in home.problems):
        text = f"alerts do not reach {shown_sink(stuck[0].sink)}: attestor alerts send --all"
        said.append(Said(PluginState.WARNING, text))
    depth = held_count(store)
    values = [value for one in found for value in _values(one)]
    values.append(PerformanceValue("queue_depth", depth))
    values.append(PerformanceValue("unacked_critical_alerts", unacked, critical=0))
    data = members(backends=[status_data(one) for one in found], home=home_data(home))
    return said, values, data | members(unacked_critical_alerts=unacked, queue_depth=depth)


def _chosen(store: Store, names: tuple[str, ...]) -> list[Backend]:

    if names:
        return [require_backend(store, name) for name in names]
    private = {one.name for one in all_private_logs(store)}
    return [
        one
        for one in all_backends(store)
        if one.enabled and one.mirror_of is None and one.name not in private
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
