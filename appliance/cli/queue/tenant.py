"""tenant: who may put something into the queue."""

from __future__ import annotations

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table
from appliance.jobs.queue.tenants import (
    add_tenant,
    forget_tenant,
    is_tenant_name,
    switch_tenant,
)
from appliance.runs.session import Session, pass_session
from appliance.store.queue.tenants import SITE_PREFIX, TenantBudget, all_tenants


@click.group(cls=LazyGroup)
def tenant() -> None:
    """Who may put something into the queue; the budget is counted for each.

    \b
    Example:
        attestor tenant add team-a
    """


@tenant.command("add")
@click.argument("name")
@click.option("--hourly-limit", type=click.IntRange(0), help="Submissions in any 60 minutes.")
@click.option("--burst-limit", type=click.IntRange(0), help="The pace of a burst, by the hour.")
@click.option("--edge-daily-limit", type=click.IntRange(0), help="Edge bundles in any 24 hours.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def tenant_add(
    session: Session,
    name: str,
    hourly_limit: int | None,
    burst_limit: int | None,
    edge_daily_limit: int | None,
    dry_run: bool,
) -> Result:
    """Add the tenant NAME: lower-case letters, digits, dots, dashes, underscores.

    It may submit what rekor.budget allows everybody, unless it is given limits of its own;
    given again, they are changed.

    \b
    Example:
        attestor tenant add team-a
        attestor tenant add team-b --hourly-limit 20 --edge-daily-limit 5
    """

    if not is_tenant_name(name):
        raise click.BadParameter(
            f"{name!r}: expected lower-case letters, digits, dots, dashes and underscores, at most"
            f" 100, not beginning with {SITE_PREFIX!r}",
            param_hint="NAME",
        )
    with session.writing_unlocked() as store:
        wanted = TenantBudget(hourly_limit, burst_limit, edge_daily_limit)
        added = add_tenant(store, name, session.now(), wanted, dry_run=dry_run)
    verb = "was there already"
    if added.is_new or added.is_change:
        verb = f"{'would be' if dry_run else 'is'} {'added' if added.is_new else 'changed'}"
    data = members(tenant=name, new=added.is_new, dry_run=dry_run) | budget_data(added.budget)
    return Result(data, f"{name} {verb}")


def budget_data(budget: TenantBudget) -> dict[str, int | None]:
    """Describe a tenant's own limits for machines; null: everybody's."""
    return members(
        hourly_limit=budget.hourly,
        burst_limit=budget.burst_hourly,
        edge_daily_limit=budget.daily_edge,
    )


@tenant.command("list")
@headings_option
@common_options
@pass_session
def tenant_list(session: Session) -> Result:
    """List the tenants.

    \b
    Example:
        attestor tenant list
    """

    with session.reading() as store:
        found = all_tenants(store)
    data = [
        members(
            one, "name", "enabled", "waiting", created=one.created_at if one.created_at else None
        )
        | budget_data(one.budget)
        for one in found
    ]
    rows = (
        (
            *(one.name, "enabled" if one.enabled else "disabled", one.waiting),
            *(one.budget.hourly, one.budget.burst_hourly, one.budget.daily_edge),
        )
        for one in found
    )
    headings = ("Tenant", "State", "Waiting", "Hourly", "Burst Hourly", "Edge Daily")
    return Result(members(tenants=data), "\n".join(table(headings, rows, right=headings[2:])))


@tenant.command("disable")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def tenant_disable(session: Session, name: str, dry_run: bool) -> Result:
    """Take nothing new from NAME; what is queued goes out.

    \b
    Example:
        attestor tenant disable team-a
    """
    return _set_enabled(session, name, enabled=False, dry_run=dry_run)


@tenant.command("enable")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def tenant_enable(session: Session, name: str, dry_run: bool) -> Result:
    """Take new items of NAME again.

    \b
    Example:
        attestor tenant enable team-a
    """
    return _set_enabled(session, name, enabled=True, dry_run=dry_run)


@tenant.command("remove")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def tenant_remove(session: Session, name: str, dry_run: bool) -> Result:
    """Forget NAME, which never queued anything. With a history, disable it.

    \b
    Example:
        attestor tenant remove team-a
    """

    with session.writing_unlocked() as store:
        forget_tenant(store, name, session.now(), dry_run=dry_run)
    verb = "would be removed" if dry_run else "is removed"
    return Result(members(tenant=name, dry_run=dry_run), f"{name} {verb}")


def _set_enabled(session: Session, name: str, *, enabled: bool, dry_run: bool) -> Result:

    word = "enabled" if enabled else "disabled"
    with session.writing_unlocked() as store:
        switch_tenant(store, name, session.now(), enabled=enabled, dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    return Result(members(tenant=name, enabled=enabled, dry_run=dry_run), f"{name} {verb} {word}")
