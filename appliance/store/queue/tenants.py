"""Who may put something into the queue."""

from __future__ import annotations

import sqlite3
from typing import Final

from appliance.errors import IncompleteError, RefusedError
from appliance.store.database import Store
from appliance.value import frozen

SYSTEM: Final = "system"  # who speaks if nobody is named
SITE_PREFIX: Final = "site:"  # what came from a site in a transfer bundle is that site's
NAME_PATTERN: Final = "[a-z0-9][a-z0-9._:-]{0,99}"


@frozen
class TenantBudget:
    """What a tenant may submit; None: what everybody may."""

    hourly: int | None = None  # in any 60 minutes
    burst_hourly: int | None = None  # the pace of a burst, by the hour
    daily_edge: int | None = None  # edge bundles in any 24 hours


@frozen
class Tenant:
    """One of those who share the log's budget."""

    name: str
    created_at: int  # Unix seconds
    enabled: bool
    waiting: int  # items that are not in a final state
    budget: TenantBudget


def all_tenants(store: Store) -> tuple[Tenant, ...]:
    """List every tenant, by name."""
    rows = store.rows(
        "SELECT name, created_at, enabled, hourly_limit, burst_limit, daily_edge_limit,"
        " (SELECT count(*) FROM queue_item WHERE tenant = name"
        " AND state IN ('queued', 'sending', 'postponed', 'exported', 'aggregated')) AS waiting"
        " FROM tenant ORDER BY name"
    )
    return tuple(
        Tenant(row["name"], row["created_at"], bool(row["enabled"]), row["waiting"], _budget(row))
        for row in rows
    )


def budget_of(store: Store, name: str) -> TenantBudget:
    """Return what is set for one tenant; nothing for one that is not here."""
    row = store.row("SELECT * FROM tenant WHERE name = ?", [name])
    return TenantBudget() if row is None else _budget(row)


def put_budget(store: Store, name: str, budget: TenantBudget) -> bool:
    """Set what is not None in `budget`; whether that changed anything. In store.atomic()."""
    before = budget_of(store, name)
    store.execute(
        "UPDATE tenant SET hourly_limit = coalesce(?, hourly_limit),"
        " burst_limit = coalesce(?, burst_limit),"
        " daily_edge_limit = coalesce(?, daily_edge_limit) WHERE name = ?",
        [budget.hourly, budget.burst_hourly, budget.daily_edge, name],
    )
    return budget_of(store, name) != before


def _budget(row: sqlite3.Row) -> TenantBudget:
    return TenantBudget(row["hourly_limit"], row["burst_limit"], row["daily_edge_limit"])


def require_tenant(store: Store, name: str) -> None:
    """Raise an error unless this tenant may add to the queue.

    IncompleteError, naming those there are, if there is none; RefusedError if it is disabled.
    """
    row = store.row("SELECT enabled FROM tenant WHERE name = ?", [name])
    if row is None:
        raise _unknown(store, name)
    if not row["enabled"]:
        raise RefusedError(
            f"tenant {name!r} is disabled; nothing was stored",
            reason="tenant-disabled",
            next_step=f"attestor tenant enable {name}",
        )


def require_known(store: Store, name: str) -> None:
    """Raise IncompleteError unless there is this tenant, enabled or not."""
    if store.row("SELECT 1 FROM tenant WHERE name = ?", [name]) is None:
        raise _unknown(store, name)


def put_tenant(store: Store, name: str, now: int) -> bool:
    """Add a tenant; whether it is new. Call it inside store.atomic()."""
    added = store.execute(
        "INSERT INTO tenant (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING", [name, now]
    )
    return added.rowcount > 0


def set_tenant_enabled(store: Store, name: str, *, enabled: bool) -> None:
    """Take new items of a tenant, or no longer; raises IncompleteError if there is none."""
    changed = store.execute("UPDATE tenant SET enabled = ? WHERE name = ?", [enabled, name])
    if changed.rowcount == 0:
        raise _unknown(store, name)


def remove_tenant(store: Store, name: str) -> None:
    """Forget a tenant that never queued anything.

    Raises IncompleteError if there is none, RefusedError if it has items: their history names it.
    """
    require_known(store, name)
    if name == SYSTEM or store.row("SELECT 1 FROM queue_item WHERE tenant = ?", [name]):
        raise RefusedError(
            f"tenant {name!r} has items in the queue or its history, which are never forgotten"
            if name != SYSTEM
            else f"tenant {name!r} is the appliance itself",
            reason="tenant-in-use",
            next_step=f"attestor tenant disable {name}",
        )
    store.execute("DELETE FROM tenant WHERE name = ?", [name])


def _unknown(store: Store, name: str) -> IncompleteError:
    known = ", ".join(one["name"] for one in store.rows("SELECT name FROM tenant ORDER BY name"))
    return IncompleteError(
        f"no tenant {name!r} here (known: {known})",
        reason="unknown-tenant",
        next_step=f"add it: attestor tenant add {name}",
    )
