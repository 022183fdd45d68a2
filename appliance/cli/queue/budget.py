"""budget: how much of its windows a tenant has left."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.errors import RefusedError
from appliance.jobs.queue.quota import Quota, read_quota, room_for
from appliance.jobs.queue.settings import read_queue_settings
from appliance.policy.budget import TIERS
from appliance.runs.session import Session, pass_session
from appliance.store.queue.tenants import all_tenants, require_tenant
from appliance.times import utc


@click.group(cls=LazyGroup)
def budget() -> None:
    """How much each tenant may submit, and when it may again.

    \b
    Example:
        attestor budget show
    """


@budget.command("show")
@click.option("--tenant", metavar="NAME", help="Only this tenant.")
@headings_option
@common_options
@pass_session
def budget_show(session: Session, tenant: str | None) -> Result:
    """Show how full the windows of each tenant are.

    Windows slide: of any 60 minutes, no more than the limit. See docs/queue.md.

    \b
    Example:
        attestor budget show
        attestor budget show --tenant team-a --json
    """

    with session.reading() as store:
        if tenant is not None:
            require_tenant(store, tenant)
        names = [tenant] if tenant else [one.name for one in all_tenants(store)]
        limits = read_queue_settings(store).limits
        moment = session.moment()
        found = [read_quota(store, limits, name, tier, moment) for name in names for tier in TIERS]
    rows = (_row(one, session.now()) for one in found)
    lines = table(("Tenant", "Tier", "Used", "Next Slot (UTC)"), rows)
    return Result(members(budgets=[_data(one) for one in found]), "\n".join(lines))


@budget.command("check")
@click.option("--tenant", metavar="NAME", default="system", show_default=True, help="Whose.")
@click.option(
    "--count",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="How many submissions.",
)
@click.option(
    "--tier",
    type=click.Choice(["graph", "edge"]),
    default="graph",
    show_default=True,
    help="Which budget they count in.",
)
@common_options
@pass_session
def budget_check(session: Session, tenant: str, count: int, tier: str) -> Result:
    """Exit 0 if so many could be submitted now, else 8 with the time of the next free slot.

    What waits in the queue already goes first and is counted.

    \b
    Example:
        attestor budget check --tenant team-a --count 10 || sleep 600
    """

    with session.reading() as store:
        limits = read_queue_settings(store).limits
        room = room_for(store, limits, tenant, tier, count, session.moment())
    slots, first = room.slots, room.next_free
    data = _data(room.quota) | members(
        room,
        "count",
        "waiting",
        next_slot_at=slots[0] if slots else None,
        last_slot_at=slots[-1] if len(slots) == count else None,
    )
    if room.fits:
        return Result(data, f"{tenant}: {count} of tier {tier} may go now")
    refused = RefusedError(
        f"{tenant}: {room.free_now} of {count} of tier {tier} may go now, with"
        f" {room.waiting} waiting before them"
        + (f"; the next free slot comes at {utc(first)}, in {first - room.now} s" if first else ""),
        reason="over-budget",
        next_step="queue them all the same: they are sent as slots come"
        if slots
        else "a limit is 0: see 'attestor config show'",
    )
    return Result(data, errors=(refused,))


def _row(quota: Quota, now: int) -> tuple[str, ...]:
    windows = ", ".join(
        f"{window.used}/{window.window.limit} {window.window.name}" for window in quota.windows
    )
    slot = quota.slots[0] if quota.slots else None
    when = "never" if slot is None else "now" if slot <= now else str(table_time(slot))
    return quota.tenant, quota.tier, windows, when


def _data(quota: Quota) -> dict[str, Any]:
    return members(
        quota,
        "tenant",
        "tier",
        "free",
        windows=[
            members(window.window, "name", "seconds", "limit", used=window.used)
            for window in quota.windows
        ],
        utilization=round(quota.utilization, 4),
        next_slot_at=quota.slots[0] if quota.slots else None,
    )
