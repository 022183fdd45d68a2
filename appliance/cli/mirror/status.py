"""sync-status: how each log stands, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.jobs.divergence.health import HomeHealth, LogStatus, home_health
from appliance.policy.coverage import Coverage
from appliance.policy.health import Problem
from appliance.runs.session import Session, pass_session
from appliance.store.home.runs import BackendRun
from appliance.store.mirror.logs import all_backends, require_backend
from appliance.store.transfer.unsigned import unsigned_imports
from appliance.times import age_text

_HEADINGS = ("Backend", "Origin", "Tree Size", "Last Sync (UTC)", "Age", "Coverage", "Health")
_RIGHT = {"Tree Size", "Age", "Coverage"}


@click.command("sync-status")
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Only this; repeatable.")
@headings_option
@common_options
@pass_session
def sync_status(session: Session, backends: tuple[str, ...]) -> Result:
    """Show each log's size, when it last answered, its checkpoint's age, coverage and health.

    Age counts from the last valid checkpoint that this backend offered; with a witness
    policy from when a whole quorum last vouched, after an import from when the exporting
    site last heard of the log. Coverage is of the level 0 tiles of the accepted checkpoint.
    That a sync has just failed changes no health, and is said below the table; so is what is
    wrong with the home itself (its jobs, queue, alerts, disk and clock).

    \b
    Example:
        attestor sync-status
    """

    with session.reading() as store:
        chosen = [require_backend(store, name) for name in backends] or all_backends(store)
        behind = session.clock.behind
        found = home_health(store, session.now(), clock_behind=behind, backends=chosen)
        unsigned = unsigned_imports(store)
    rows = [_row(log, clock_behind=behind is not None) for log in found.logs]
    lines = table(_HEADINGS, rows, _RIGHT) if rows else ["no backend yet"]
    for log in found.logs:
        told = [*log.reasons, *_failed_attempt(log)]
        lines += [f"{log.backend.name}: {reason}" for reason in told]
    lines += [f"this home: {problem.text}; {problem.next_step}" for problem in found.problems]
    warnings = () if unsigned is None else (str(unsigned),)
    data = members(backends=[status_data(log) for log in found.logs], home=home_data(found))
    return Result(data, "\n".join(lines), warnings)


def home_data(found: HomeHealth) -> dict[str, Any]:
    """Describe how a home is for machines."""
    return members(
        health=found.health, problems=[problem_data(problem) for problem in found.problems]
    )


def problem_data(one: Problem) -> dict[str, Any]:
    """Describe what is wrong for machines."""
    return members(
        one,
        "kind",
        "text",
        "next_step",
        severity="critical" if one.is_critical else "warning",
        about=one.about or None,
        age_seconds=one.age,
        threshold_seconds=one.threshold,
    )


def coverage_data(coverage: Coverage | None) -> dict[str, Any] | None:
    """Describe a coverage for machines."""
    if coverage is None:
        return None
    return members(coverage, "percent", "tree_size", "present", "expected")


def _row(one: LogStatus, *, clock_behind: bool) -> tuple[object, ...]:
    age = "none" if one.age is None else age_text(one.age)
    synced = table_time(one.last_sync) or "never"
    return (
        one.backend.name + ("" if one.backend.enabled else " (disabled)"),
        one.backend.log.origin,
        "none" if one.tree_size is None else f"{one.tree_size:,}",
        synced,
        "unknown" if clock_behind and one.age is not None else age,
        "none" if one.coverage is None else f"{one.coverage.percent:.1f}%",
        one.health.value,
    )


def _failed_attempt(one: LogStatus) -> Iterator[str]:
    """Say that the last sync failed, which no health tells before some age is reached."""
    run = one.run
    if run is None or run.failing_since is None or not one.backend.enabled:
        return
    if run.error and any(run.error in reason for reason in one.reasons):
        return
    row = f", {run.failures} in a row" if run.failures > 1 else ""
    yield f"its last sync, {table_time(run.attempted_at)}, failed{row}: {run.error or 'unknown'}"


def status_data(one: LogStatus) -> dict[str, Any]:
    """Describe how a log stands for machines."""
    return members(
        one,
        "tree_size",
        "mirror_size",
        "last_sync",
        "health",
        "reasons",
        backend=one.backend.name,
        origin=one.backend.log.origin,
        enabled=one.backend.enabled,
        age_seconds=one.age,
        growth_age_seconds=one.growth_age,
        covered_age_seconds=one.covered_age,
        coverage=coverage_data(one.coverage),
        problems=[problem_data(problem) for problem in one.problems],
        syncs=None if one.run is None else _run_data(one.run),
    )


def _run_data(run: BackendRun) -> dict[str, Any]:
    return members(
        run,
        "failing_since",
        "failures",
        "error",
        last_attempt=run.attempted_at,
        last_success=run.succeeded_at,
    )
