"""tenant: who may put something into the queue."""

from __future__ import annotations

import re

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.runs.session import Session, pass_session
from appliance.store.home.journal import append_event
from appliance.store.queue.tenants import (
    NAME_PATTERN,
    SITE_PREFIX,
    all_tenants,
    put_tenant,
    remove_tenant,
    set_tenant_enabled,
)


@click.group()
def tenant() -> None:
    """Who may put something into the queue; the budget is counted for each.

    \b
    Example:
        attestor tenant add team-a
    """


@tenant.command("add")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def tenant_add(session: Session, name: str, dry_run: bool) -> Result:
    """Add the tenant NAME: lower-case letters, digits, dots, dashes, underscores.

    \b
    Example:
        attestor tenant add team-a
    """

    if not re.fullmatch(NAME_PATTERN, name) or name.startswith(SITE_PREFIX):
        raise click.BadParameter(
            f"{name!r}: expected lower-case letters, digits, dots, dashes and underscores, at most"
            f" 100, not beginning with {SITE_PREFIX!r}",
            param_hint="NAME",
        )
    with session.queueing() as store, store.atomic(dry_run=dry_run):
        is_new = put_tenant(store, name, session.now())
        if is_new:
            append_event(store, session.now(), "tenant.added", {"tenant": name})
    verb = "was there already" if not is_new else "would be added" if dry_run else "is added"
    return Result(members(tenant=name, new=is_new, dry_run=dry_run), f"{name} {verb}")


@tenant.command("list")
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
        for one in found
    ]
    lines = [
        f"{one.name:<24} {one.waiting:>6} waiting" + ("" if one.enabled else ", disabled")
        for one in found
    ]
    return Result(members(tenants=data), "\n".join(lines))


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
    """Forget NAME, which never queued anything. A history names its tenant: disable that one.

    \b
    Example:
        attestor tenant remove team-a
    """

    with session.queueing() as store, store.atomic(dry_run=dry_run):
        remove_tenant(store, name)
        append_event(store, session.now(), "tenant.removed", {"tenant": name})
    verb = "would be removed" if dry_run else "is removed"
    return Result(members(tenant=name, dry_run=dry_run), f"{name} {verb}")


def _set_enabled(session: Session, name: str, *, enabled: bool, dry_run: bool) -> Result:

    word = "enabled" if enabled else "disabled"
    with session.queueing() as store, store.atomic(dry_run=dry_run):
        set_tenant_enabled(store, name, enabled=enabled)
        append_event(store, session.now(), f"tenant.{word}", {"tenant": name})
    verb = "would be" if dry_run else "is"
    return Result(members(tenant=name, enabled=enabled, dry_run=dry_run), f"{name} {verb} {word}")
