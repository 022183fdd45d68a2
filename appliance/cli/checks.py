"""How the results of checks are shown: as lines for people, as objects for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from appliance.cli.members import members
from appliance.cli.output import Result
from appliance.jobs.checks import CheckResult, CheckState


def check_data(one: CheckResult) -> dict[str, Any]:
    """Return one result for --json."""
    data = members(check=one.name, outcome=one.state, text=one.message)
    if one.error is not None:
        data |= members(one.error, "reason", "next_step")
    return data


def check_lines(results: Iterable[CheckResult]) -> list[str]:
    """Return a line for each result: its name, its state, what was found."""
    shown = list(results)
    width = max((len(one.name) for one in shown), default=0)
    return [f"{one.name:{width}} {one.state.value:8} {one.message}" for one in shown]


def checks_result(results: Iterable[CheckResult]) -> Result:
    """Return what a command ends with that made checks: each failed one is an error."""
    shown = tuple(results)
    return Result(
        members(checks=[check_data(one) for one in shown]),
        "\n".join(check_lines(shown)),
        tuple(f"{one.name}: {one.message}" for one in shown if one.state is CheckState.WARNING),
        tuple(one.error for one in shown if one.error is not None),
    )
