"""check: for Nagios, Icinga and whatever else runs their plugins.

The one command whose codes are not those of all others: 0 to 3, and whatever keeps it
from an answer, wrong usage and a bug of ours included, is 3 (UNKNOWN).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

import click

from appliance.cli.members import members
from appliance.cli.mirror.status import home_data, status_data
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options, envelope, error_line, is_json, say
from appliance.report.plugin import CheckLine, PluginState, plugin_line
from appliance.runs.check import GivenLimits, check_home
from appliance.runs.exit_codes import EXIT_CODES, as_ours
from appliance.runs.session import Session, pass_session


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
        limits = GivenLimits(
            None if warning is None else seconds_option(warning, "--warning", None),
            None if critical is None else seconds_option(critical, "--critical", None),
        )
        run = check_home(session, limits, names)
    except tuple(EXIT_CODES) as error:
        ours = as_ours(error)
        return Result(
            members(state=PluginState.UNKNOWN.name),
            plugin_line([CheckLine(PluginState.UNKNOWN, error_line(ours))]),
            errors=(ours,) if is_json() else (),  # the line has it already
            code=PluginState.UNKNOWN,
        )
    data = members(
        state=run.state.name,
        backends=[status_data(log) for log in run.logs],
        home=home_data(run.home),
        unacked_critical_alerts=run.unacked,
        queue_depth=run.queue_depth,
    )
    return Result(data, plugin_line(run.said, run.values), code=run.state)


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
    line = plugin_line([CheckLine(state, text)])
    answer = envelope("check", code=state, data=members(state=state.name), error=described)
    say(answer if as_json else line)
    return state
