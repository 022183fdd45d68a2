"""doctor: what is wrong with this home and its host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from appliance.cli.output import Result, common_options
from appliance.jobs.home.doctor import Examined, Finding, Outcome, examine
from appliance.runs.session import Session, pass_session

NAME_COLUMNS = 12


@click.command()
@common_options
@pass_session
def doctor(session: Session) -> Result:
    """Check Python, SQLite, files, clock, keys and room; change nothing.

    The exit code is that of the worst finding; warnings are none.

    \b
    Example:
        attestor doctor
        attestor doctor --json
    """

    return findings_result(examine(Examined(session.home, session.now(), session.allow_network_fs)))


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
