"""Who may put something into the queue: added, switched off and forgotten, each an event."""

from __future__ import annotations

import re
from typing import Final

from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.queue.tenants import (
    NAME_PATTERN,
    SITE_PREFIX,
    TenantBudget,
    budget_of,
    put_budget,
    put_tenant,
    remove_tenant,
    set_tenant_enabled,
)
from appliance.value import frozen

NO_BUDGET: Final = TenantBudget()  # no limits of its own


def is_tenant_name(name: str) -> bool:
    """Whether a tenant may be called so; what begins as another site's name may not."""
    return bool(re.fullmatch(NAME_PATTERN, name)) and not name.startswith(SITE_PREFIX)


@frozen
class AddedTenant:
    """What came of adding a tenant."""

    is_new: bool
    is_change: bool  # of its own limits
    budget: TenantBudget  # its own limits, as they are now


def add_tenant(
    store: Store,
    name: str,
    now: int,
    budget: TenantBudget = NO_BUDGET,
    *,
    dry_run: bool = False,
) -> AddedTenant:
    """Add a tenant, or give one that is here other limits of its own."""
    with store.atomic(dry_run=dry_run):
        is_new = put_tenant(store, name, now)
        is_change = put_budget(store, name, budget)
        own = budget_of(store, name)
        if is_new or is_change:
            limits = {
                "hourlyLimit": own.hourly,
                "burstLimit": own.burst_hourly,
                "edgeDailyLimit": own.daily_edge,
            }
            event = "tenant.added" if is_new else "tenant.changed"
            append_event(store, now, event, {"tenant": name, **limits})
    return AddedTenant(is_new, is_change, own)


def forget_tenant(store: Store, name: str, now: int, *, dry_run: bool = False) -> None:
    """Forget a tenant that never queued anything; raises RefusedError for another."""
    with store.atomic(dry_run=dry_run):
        remove_tenant(store, name)
        append_event(store, now, "tenant.removed", {"tenant": name})


def switch_tenant(
    store: Store, name: str, now: int, *, enabled: bool, dry_run: bool = False
) -> None:
    """Take new items of a tenant again, or no longer; what is queued goes out."""
    with store.atomic(dry_run=dry_run):
        set_tenant_enabled(store, name, enabled=enabled)
        event = "tenant.enabled" if enabled else "tenant.disabled"
        append_event(store, now, event, {"tenant": name})
