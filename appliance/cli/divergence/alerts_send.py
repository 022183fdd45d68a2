"""alerts send: deliver what waits in the outbox."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.config.configuration import shown_sink
from appliance.runs.session import Session, pass_session
from appliance.runs.tell import send_alerts
from appliance.store.divergence.outbox import Delivery
from appliance.times import utc


@click.command("send")
@click.option("--all", "early", is_flag=True, help="Also what is to be tried again later only.")
@click.option("--dry-run", is_flag=True, help="Only say what waits for whom, until when.")
@common_options
@pass_session
def alerts_send(session: Session, early: bool, dry_run: bool) -> Result:
    """Deliver alerts that have not reached their sinks yet. Made for cron.

    sync does the same when it ends; import delivers to programs and files only. What a sink
    does not take stays, and is tried again after longer and longer pauses, an hour at most;
    nothing is given up. The other side knows an alert that comes twice by its id.

    \b
    Example:
        attestor alerts send
        attestor alerts send --dry-run
    """

    run = send_alerts(session, early=early, dry_run=dry_run)
    lines = [f"alert {one.alert_number} delivered to {shown_sink(one.sink)}" for one in run.arrived]
    lines += [_line(one) for one in run.waiting]
    data = members(
        dry_run=dry_run,
        delivered=[_data(one) for one in run.arrived],
        waiting=[_data(one) for one in run.waiting],
    )
    return Result(data, "\n".join(lines) or "nothing waits", run.warnings, run.errors)


def _line(one: Delivery) -> str:
    times = "once" if one.attempts == 1 else f"{one.attempts:,} times"
    tried = f", tried {times}" if one.attempts else ""
    why = f": {one.last_error}" if one.last_error else ""
    until = f"until {utc(one.next_at)}{tried}{why}"
    return f"alert {one.alert_number} waits for {shown_sink(one.sink)} {until}"


def _data(one: Delivery) -> dict[str, Any]:
    return members(
        one,
        "attempts",
        "next_at",
        "last_error",
        number=one.alert_number,
        id=one.alert_id,
        sink=shown_sink(one.sink),
    )
