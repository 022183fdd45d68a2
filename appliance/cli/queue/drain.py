"""queue drain, queue forecast: sending what waits, and when that will be through."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.progress import progress_bar
from appliance.cli.queue.drain_text import drain_data, drain_line
from appliance.cli.table import headings_option, table, table_time
from appliance.jobs.queue.quota import empty_at, forecast
from appliance.jobs.queue.settings import read_queue_settings
from appliance.runs.drain import drain_queue
from appliance.runs.session import Session, pass_session
from appliance.times import age_text, utc


@click.command("drain")
@click.option("--limit", type=click.IntRange(1), help="At most so many submissions.")
@click.option("--wait", "until_empty", is_flag=True, help="Go on until nothing waits any more.")
@common_options
@pass_session
def queue_drain(session: Session, limit: int | None, until_empty: bool) -> Result:
    """Send what is due, within the budget; each is done only once its proof verified here.

    Made for cron: it can be killed at any time and run again, and a second one beside it
    answers 75. Nothing is wrong if items remain for which there is no slot yet.

    \b
    Example:
        attestor queue drain
        attestor queue drain --wait --json
    """

    run = drain_queue(session, limit=limit, until_empty=until_empty, show=progress_bar)
    if run is None:
        return Result(members(enabled=False), "rekor.enabled is false: nothing is sent")
    waiting = sum(one.waiting for one in run.left)
    slots = [one.first_slot for one in run.left if one.first_slot is not None]
    data = (
        members(server=run.backend.base_url, origin=run.backend.log.origin)
        | drain_data(run.report)
        | members(waiting=waiting, next_slot_at=min(slots) if slots else None)
    )
    warnings = []
    if run.other_versions:
        warnings.append(
            f"{run.other_versions} items are for another API version of Rekor than"
            f" v{run.backend.log.api_version}; they wait: cancel them and queue them again for"
            " this log"
        )
    text = drain_line(run)
    if waiting:
        text += f"; {waiting} wait, see 'attestor queue forecast'"
    return Result(data, text, (*warnings, *run.warnings), run.errors)


@click.command("forecast")
@headings_option
@common_options
@pass_session
def queue_forecast(session: Session) -> Result:
    """Say when the budget lets the last of what waits now go, for each tenant.

    It supposes that the log answers and that somebody drains: the budget alone decides.

    \b
    Example:
        attestor queue forecast
    """

    with session.reading() as store:
        found = forecast(store, read_queue_settings(store).limits, session.moment())
    data: list[dict[str, Any]] = []
    rows = []
    for one in found:
        first = None if one.first_slot is None else utc(one.first_slot)
        last = None if one.last_slot is None else utc(one.last_slot)
        data.append(
            members(one, "tenant", "tier", "waiting", first_slot_at=first, last_slot_at=last)
        )
        slots = (table_time(one.first_slot), table_time(one.last_slot))
        never = ("never: a limit is 0", None)
        rows.append((one.tenant, one.tier, one.waiting, *(slots if first else never)))
    end = empty_at(found, session.now())
    result = members(queues=data, empty_at=end)
    headings = ("Tenant", "Tier", "Waiting", "First Slot (UTC)", "Last Slot (UTC)")
    lines = table(headings, rows, right=("Waiting",))
    if found and end is not None:
        lines.append(f"empty at {utc(end)}, in {age_text(end - session.now())}")
    return Result(result, "\n".join(lines) or "nothing waits")
