"""drill: both sides of a gap in a temporary directory, an attack, and how it was met."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from appliance.cli.checks import check_data, check_lines
from appliance.cli.members import members
from appliance.cli.output import Result, common_options, verbosity
from appliance.errors import VerificationError
from appliance.jobs.drill.drill import Drilled
from appliance.jobs.drill.drill import drill as run_drill
from appliance.runs.session import Session, pass_session

# The keys of jobs.drill.ATTACKS, which a test compares: importing it for --help takes long.
ATTACKS = ("none", "fork", "rollback", "stale", "tampered-bundle", "replayed-bundle", "bit-rot")


@click.command()
@click.option(
    "--attack",
    "attacks",
    type=click.Choice([*ATTACKS, "all"]),
    multiple=True,
    default=["all"],
    help="What is tried; repeatable.  [default: all]",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Build the sites below this, e.g. on the disk in question.",
)
@common_options
@pass_session
def drill(session: Session, attacks: tuple[str, ...], directory: Path | None) -> Result:
    """Build a log and both sides of an air gap, attack them, and say how that was met.

    Everything lies in a temporary directory and is gone afterwards; the home is not looked
    at. The code is 0 if every attack was met as it has to be, and 3 if one was not: then
    rely on this installation for nothing. -v shows each check.

    \b
    Example:
        attestor drill
        attestor drill --attack fork -v
    """

    chosen = ATTACKS if "all" in attacks else tuple(dict.fromkeys(attacks))
    with tempfile.TemporaryDirectory(prefix="attestor-drill-", dir=directory) as place:
        done = run_drill(
            Path(place), chosen, session.now(), session.random_bytes, session.monotonic
        )
    return _result(done)


def _result(done: tuple[Drilled, ...]) -> Result:

    width = max(len(one.attack) for one in done)
    lines = []
    for one in done:
        met = "passed" if one.passed else "FAILED"
        held = sum(not check.failed for check in one.checks)
        lines.append(
            f"{one.attack:{width}}  {met}  {held:2} of {len(one.checks)} checks"
            f"  {one.seconds:4.1f} s"
        )
        told = [check for check in one.checks if verbosity() or check.failed]
        lines += [f"    {line}" for line in check_lines(told)]
    failed = [one.attack for one in done if not one.passed]
    errors: tuple[VerificationError, ...] = ()
    if failed:
        failure = VerificationError(
            f"not met as it has to be: {', '.join(failed)}",
            reason="drill-failed",
            next_step="rely on this installation for nothing; keep the output, and install again",
        )
        errors = (failure,)
    data = members(passed=not failed, attacks=[_data(one) for one in done])
    return Result(data, "\n".join(lines), (), errors)


def _data(one: Drilled) -> dict[str, Any]:
    checks = [
        # The last three are the names that programs know of before there was one for all.
        check_data(check) | members(what=check.name, passed=not check.failed, found=check.message)
        for check in one.checks
    ]
    return members(one, "attack", "passed", seconds=round(one.seconds, 3), checks=checks)
