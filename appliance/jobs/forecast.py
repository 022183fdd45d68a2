"""When the queue will be empty, if the log answers and nothing is added (SPEC.md section 11)."""

from __future__ import annotations

from appliance.jobs.quota import read_quota
from appliance.policy.budget import TIERS, Limits, Moment
from appliance.store.database import Store
from appliance.store.queue import waiting_count
from appliance.store.tenants import all_tenants
from appliance.value import frozen


@frozen
class Forecast:
    """What one tenant has waiting of one tier, and when the budget lets it go."""

    tenant: str
    tier: str
    waiting: int
    first_slot: int | None  # Unix seconds; None: never, a limit is 0
    last_slot: int | None  # of the last one waiting


def forecast(store: Store, limits: Limits, moment: Moment) -> list[Forecast]:
    """Say, for each tenant and tier with something waiting, when the budget lets it go."""
    found = []
    for tenant in all_tenants(store):
        for tier in TIERS:
            waiting = waiting_count(store, tenant.name, tier)
            if waiting:
                slots = read_quota(store, limits, tenant.name, tier, moment, waiting).slots
                first, last = (slots[0], slots[-1]) if slots else (None, None)
                found.append(Forecast(tenant.name, tier, waiting, first, last))
    return found
