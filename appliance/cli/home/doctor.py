"""doctor: what is wrong with this home and its host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from appliance.cli.output import Result, common_options
from appliance.runs.app import App, pass_app

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appliance.jobs.home.doctor import Finding

NAME_COLUMNS = 12


@click.command()
@common_options
@pass_app
def doctor(app: App) -> Result:
    """Check Python, SQLite, files, clock, keys and room; change nothing.

    The exit code is that of the worst finding; warnings are none.

    \b
    Example:
        attestor doctor
        attestor doctor --json
    """
    from appliance.jobs.home.doctor import Patient, examine

    return findings_result(examine(Patient(app.home, app.now(), app.allow_network_fs)))


def findings_result(findings: Iterable[Finding]) -> Result:
    """Show findings as a table, with the failed ones as errors."""
    from appliance.jobs.home.doctor import Outcome

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
