"""doctor: what is wrong with this home and its host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from appliance.cli.output import Result, common_options
from appliance.errors import ApplianceError
from appliance.jobs.divergence.health import home_health
from appliance.jobs.home.clock import reset_clock
from appliance.jobs.home.doctor import Examined, Finding, Outcome, examine
from appliance.policy.health import ProblemKind
from appliance.runs.session import Session, pass_session
from appliance.times import utc

NAME_COLUMNS = 12


@click.command()
@click.option(
    "--reset-clock",
    "reset_reason",
    metavar="REASON",
    help="The clock was ahead and is right now: bring what was recorded then back to it.",
)
@common_options
@pass_session
def doctor(session: Session, reset_reason: str | None) -> Result:
    """Check Python, SQLite, files, clock, keys, room and the health of all; change nothing.

    The exit code is that of the worst finding; warnings are none.

    No time that is recorded ever decreases, and ages are counted from no earlier time than
    the newest of them. A home whose clock was ahead once therefore waits for that time to
    come; --reset-clock, once the clock is right, is the one way out. It is written into the
    journal.

    \b
    Example:
        attestor doctor
        attestor doctor --reset-clock "battery replaced, set by radio clock"
    """

    if reset_reason is not None:
        return _reset_clock(session, reset_reason)
    clock = session.clock
    examined = Examined(session.home, clock, lambda: clock.behind, session.allow_network_fs)
    return findings_result((*examine(examined), *_health_findings(session)))


def _reset_clock(session: Session, reason: str) -> Result:
    clock = session.clock
    before, now = clock.floor, clock.system()
    with session.writing() as store, store.atomic():
        changed = reset_clock(store, now, reason)
    was = "nothing" if before is None else f"{utc(before.at)} ({before.source})"
    text = (
        f"the clock counts from {utc(now)} again; until now it was held at {was};"
        f" {changed:,} recorded times were later and are {utc(now)} now"
    )
    data = {"now": utc(now), "before": None if before is None else utc(before.at)}
    return Result({**data, "changed": changed}, text)


def _health_findings(session: Session) -> Iterator[Finding]:
    """Say what the one judgement of health says; doctor's own checks have said some of it."""
    try:
        with session.reading() as store:
            found = home_health(store, session.now())
    except ApplianceError:
        return  # which is a finding already
    own = (ProblemKind.CLOCK, ProblemKind.DISK, ProblemKind.TRUST_ROOT)
    told = [f"{one.text}; {one.next_step}" for one in found.problems if one.kind not in own]
    told += [f"{one.backend.name}: {reason}" for one in found.logs for reason in one.reasons]
    if not told:
        yield Finding("health", Outcome.OK, "logs, jobs and queue are well")
    for text in told:
        yield Finding("health", Outcome.WARNING, text)


def findings_result(findings: Iterable[Finding]) -> Result:
    """Show findings as a table, with the failed ones as errors."""

    data: list[dict[str, Any]] = []
    lines, warnings, errors = [], [], []
    for one in findings:
        data.append({"check": one.name, "outcome": one.outcome.value, "text": one.text})
        if one.error is not None:
            data[-1] |= {"reason": one.error.reason, "next": one.error.next_step}
            errors.append(one.error)
        if one.outcome is Outcome.WARNING:
            warnings.append(f"{one.name}: {one.text}")
        lines.append(f"{one.name:{NAME_COLUMNS}} {one.outcome.value:8} {one.text}")
    return Result({"checks": data}, "\n".join(lines), tuple(warnings), tuple(errors))
