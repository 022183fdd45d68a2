"""alerts prune: forget what is over."""

from __future__ import annotations

import click

from appliance.cli.members import members
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options
from appliance.runs.session import Session, pass_session
from appliance.store.divergence.alerts import forget_alerts


@click.command("prune")
@click.option("--older-than", metavar="DURATION", required=True, help="Over before, e.g. 8760h.")
@click.option("--dry-run", is_flag=True, help="Only say how many would go.")
@common_options
@pass_session
def alerts_prune(session: Session, older_than: str, dry_run: bool) -> Result:
    """Forget alerts whose condition is long over; the journal keeps their lines.

    Whatever is evidence stays, with what a quarantine or a watch refers to, what still waits
    for a sink, and critical alerts that nobody has acknowledged.

    \b
    Example:
        attestor alerts prune --older-than 8760h
    """

    now = session.now()
    before = now - int(seconds_option(older_than, "--older-than", None))
    with session.writing() as store, store.atomic(dry_run=dry_run):
        count = forget_alerts(store, before, now)
    verb = "would be forgotten" if dry_run else "forgotten"
    return Result(members(dry_run=dry_run, pruned=count), f"{count:,} alerts {verb}")
