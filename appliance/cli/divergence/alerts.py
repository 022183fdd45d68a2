"""alerts: what somebody has to know, and who has seen it."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.jobs.divergence.acknowledge import acknowledge
from appliance.runs.session import Session, pass_session
from appliance.store.divergence.alerts import Alert, require_alert
from appliance.store.divergence.alerts import alerts as stored_alerts
from appliance.times import utc


@click.group(
    cls=LazyGroup,
    lazy={
        "send": "divergence.alerts_send:alerts_send",
        "export": "divergence.alerts_export:alerts_export",
        "prune": "divergence.alerts_prune:alerts_prune",
    },
)
def alerts() -> None:
    """What was found that somebody has to know: one alert for each condition.

    \b
    Example:
        attestor alerts list --unacked
    """


@alerts.command("list")
@click.option("--unacked", is_flag=True, help="Only those that nobody has acknowledged.")
@click.option("--lasting", is_flag=True, help="Only those whose condition is not over.")
@headings_option
@common_options
@pass_session
def alerts_list(session: Session, unacked: bool, lasting: bool) -> Result:
    """List alerts, the newest last. What is found again counts up, it is not a new alert.

    \b
    Example:
        attestor alerts list --unacked
    """

    with session.reading() as store:
        found = stored_alerts(store, unacked=unacked, lasting=lasting)
    headings = ("Id", "Severity", "Since (UTC)", "Type", "Origin", "Times", "State", "Acknowledged")
    rows = (
        (
            *(str(one.number), one.severity, table_time(one.detected_at), one.type, one.origin),
            *(one.count, _state(one), "no" if one.acked_at is None else "yes"),
        )
        for one in found
    )
    text = "\n".join(table(headings, rows, right=("Id", "Times"))) or "no alert"
    return Result(members(alerts=[_data(one) for one in found]), text)


@alerts.command("show")
@click.argument("which", metavar="ID")
@common_options
@pass_session
def alerts_show(session: Session, which: str) -> Result:
    """Show one alert: its payload as it is delivered, and what came of it.

    \b
    Example:
        attestor alerts show 3
    """

    with session.reading() as store:
        found = require_alert(store, which)
    lines = [_line(found), *(f"  {name:17} {value}" for name, value in found.payload.items())]
    if found.evidence_id is not None:
        lines.append(f"  evidence          {found.evidence_id}: attestor alerts export {which}")
    if found.acked_at is not None:
        lines.append(f"  acknowledged      {utc(found.acked_at)} {found.ack_note or ''}".rstrip())
    return Result(_data(found), "\n".join(lines))


@alerts.command("ack")
@click.argument("which", metavar="ID...", nargs=-1, required=True)
@click.option("--note", "ack_note", help="What was done about it.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def alerts_ack(
    session: Session, which: tuple[str, ...], ack_note: str | None, dry_run: bool
) -> Result:
    """Record that somebody has seen alerts. It ends no condition and lifts no quarantine.

    They wait no longer for sinks that were taken out of the configuration.

    \b
    Example:
        attestor alerts ack 3 --note "the log's operator is told, ticket 4711"
    """

    with session.writing() as store:
        done = acknowledge(store, which, ack_note, session.now(), dry_run=dry_run)
    verb = "would be acknowledged" if dry_run else "acknowledged"
    lines = [
        f"alert {one.alert.number} {verb if one.is_new else 'was acknowledged before'}"
        for one in done
    ]
    data = members(dry_run=dry_run, acknowledged=[one.alert.id for one in done])
    return Result(data, "\n".join(lines))


def _line(one: Alert) -> str:
    times = f"{one.count:,} times" if one.count > 1 else "once"
    seen = "acknowledged" if one.acked_at is not None else "not acknowledged"
    return (
        f"{one.number:>4}  {one.severity:8}  {utc(one.detected_at)}  {one.type}"
        f"  {one.origin or '-'}  ({times}, {_state(one)}, {seen})"
    )


def _state(one: Alert) -> str:
    return "lasts" if one.ended_at is None else f"over since {utc(one.ended_at)}"


def _data(one: Alert) -> dict[str, Any]:
    return members(
        one,
        "number",
        "id",
        "type",
        "event_type",
        "severity",
        "origin",
        "detected_at",
        "last_seen_at",
        "count",
        "ended_at",
        "acked_at",
        "ack_note",
        "payload",
        evidence=one.evidence_id,
    )
