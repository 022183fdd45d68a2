"""quarantine and failover: limit the damage of a log that contradicted itself, and go on."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.jobs.divergence.lift import fail_over, lift
from appliance.runs.session import Session, pass_session
from appliance.store.divergence.quarantine import Quarantine, quarantines
from appliance.times import utc


@click.group(cls=LazyGroup)
def quarantine() -> None:
    """Logs that contradicted themselves, and up to which size they are still believed.

    \b
    Example:
        attestor quarantine list
    """


@quarantine.command("list")
@click.option("--lifted", is_flag=True, help="Those that were lifted as well.")
@headings_option
@common_options
@pass_session
def quarantine_list(session: Session, lifted: bool) -> Result:
    """List the quarantined logs, and the last size that all their stories share.

    Proofs up to that size stay good. Beyond it verify answers 8, sync and import take
    nothing, until the quarantine is lifted.

    \b
    Example:
        attestor quarantine list
    """

    with session.reading() as store:
        found = quarantines(store, lifted=lifted)
    headings = ("Id", "Origin", "Believed Up To", "Since (UTC)", "Alert", "State")
    lines = table(headings, map(_row, found), right=("Id", "Believed Up To", "Alert"))
    text = "\n".join(lines) or "no log is quarantined"
    return Result(members(quarantines=[_data(one) for one in found]), text)


@quarantine.command("lift")
@click.argument("quarantine_id", metavar="ID", type=Whole(1))
@click.option("--reason", required=True, help="Why the log is believed again; kept for ever.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def quarantine_lift(session: Session, quarantine_id: int, reason: str, dry_run: bool) -> Result:
    """Believe a log again. The evidence stays; the same contradiction again begins a new one.

    \b
    Example:
        attestor quarantine lift 1 --reason "the operator restored the log from tiles, see 4711"
    """

    if not reason.strip():
        raise click.BadParameter("say why", param_hint="--reason")
    with session.writing() as store:
        one, ended = lift(store, quarantine_id, reason, session.now(), dry_run=dry_run)
    data = members(dry_run=dry_run, quarantine=_data(one), ended_alerts=ended)
    if one.lifted_at is not None:
        return Result(data, f"quarantine {one.id} was lifted before, {utc(one.lifted_at)}")
    verb = "would be lifted" if dry_run else "is lifted"
    over = f"; over: alert {', '.join(map(str, ended))}" if ended else ""
    return Result(data, f"quarantine {one.id} of {one.origin} {verb}{over}")


@click.command()
@click.argument("name", metavar="ID")
@click.option("--to", "mirror", metavar="MIRROR", required=True, help="A backend that mirrors it.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def failover(session: Session, name: str, mirror: str, dry_run: bool) -> Result:
    """Make a mirror the primary source of its log, and switch the one it was off.

    The log, its keys and its history stay: only where it is read changes. Back again:
    'attestor failover MIRROR --to ID', after which MIRROR is the mirror that it was.

    \b
    Example:
        attestor failover public --to copy
    """

    with session.writing() as store:
        enabled = fail_over(store, name, mirror, session.now(), dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    state = "its mirror again" if enabled else "disabled, as its mirror"
    disabled = None if enabled else name
    data = members(dry_run=dry_run, primary=mirror, disabled=disabled)
    return Result(data, f"{mirror} {verb} the primary now; {name} {verb} {state}")


def _row(one: Quarantine) -> tuple[object, ...]:
    state = "holds" if one.lifted_at is None else f"lifted {utc(one.lifted_at)}: {one.lift_reason}"
    since = table_time(one.since)
    alert = str(one.alert_number)
    return str(one.id), one.origin, one.last_common_size, since, alert, state


def _data(one: Quarantine) -> dict[str, Any]:
    return members(
        one,
        "id",
        "origin",
        "last_common_size",
        "since",
        "lifted_at",
        "lift_reason",
        alert=one.alert_number,
    )
