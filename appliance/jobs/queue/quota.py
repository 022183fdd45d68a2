"""How much of its budget a tenant has left, when it gets more, when the queue will be empty."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.policy.budget import (
    TIERS,
    BudgetClock,
    Limits,
    Moment,
    Window,
    free_slots,
    slot_times,
    start_clock,
    used,
    utilization,
)
from appliance.store.database import Store
from appliance.store.queue.budget import ClockReading, read_clock, spends, write_clock
from appliance.store.queue.queue import waiting_count
from appliance.store.queue.tenants import all_tenants, budget_of, require_tenant
from appliance.value import frozen


@frozen
class WindowUse:
    """How full one window is."""

    window: Window
    used: int


@frozen
class Quota:
    """What one tenant may submit of one tier."""

    tenant: str
    tier: str
    windows: tuple[WindowUse, ...]
    free: int  # may be submitted at once
    utilization: float  # of the fullest window, 0 to 1
    slots: tuple[int, ...]  # Unix seconds: when each of those asked for may go; fewer if never


def limits_of(store: Store, limits: Limits, tenant: str) -> Limits:
    """Return what one tenant may submit: its own limits, else those of everybody."""
    own = budget_of(store, tenant)
    return Limits(
        hourly=limits.hourly if own.hourly is None else own.hourly,
        burst_hourly=limits.burst_hourly if own.burst_hourly is None else own.burst_hourly,
        burst_seconds=limits.burst_seconds,
        daily_edge=limits.daily_edge if own.daily_edge is None else own.daily_edge,
    )


def read_quota(
    store: Store, limits: Limits, tenant: str, tier: str, moment: Moment, count: int = 1
) -> Quota:
    """Say how full a tenant's windows are, and when the next `count` submissions may go.

    `limits` are everybody's; the tenant's own go before.
    """
    now = clock_at(store, moment).budget_time
    windows = limits_of(store, limits, tenant).windows(tier)
    counts_at = window_spends(store, tenant, tier, windows, now)
    slots = slot_times(counts_at, windows, now, count)
    return Quota(
        tenant,
        tier,
        tuple(WindowUse(window, used(counts_at, window, now)) for window in windows),
        free_slots(counts_at, windows, now),
        utilization(counts_at, windows, now),
        tuple(moment.wall + slot - now for slot in slots),
    )


def window_spends(
    store: Store, tenant: str, tier: str, windows: Sequence[Window], now: int
) -> list[int]:
    """Read what still counts in any of the windows, ascending, in budget time."""
    return spends(store, tenant, tier, now - max(window.seconds for window in windows))


def clock_at(store: Store, moment: Moment) -> BudgetClock:
    """Return what budget time it is."""
    last = read_clock(store)
    if last is None:
        return start_clock(moment)
    then = Moment(last.wall, last.boot, last.uptime)
    return BudgetClock(last.budget_time, then).at(moment)


def keep_clock(store: Store, clock: BudgetClock) -> None:
    """Make budget time durable: it never goes back below this. In store.atomic()."""
    moment = clock.moment
    write_clock(store, ClockReading(clock.budget_time, moment.wall, moment.boot, moment.uptime))


@frozen
class QueueFigures:
    """Figures for the metrics: attestor_rekor_queue_depth and attestor_rekor_budget_*."""

    depth: dict[str, int]  # by tier: items that are still to be sent
    remaining: dict[str, int]  # by tenant: free graph slots now
    utilization: dict[str, float]  # by tenant: of its fullest window, any tier, 0 to 1


def queue_figures(store: Store, limits: Limits, moment: Moment) -> QueueFigures:
    """Say how long the queue is and how much of each tenant's budget is left."""
    from appliance.store.queue.queue import HELD, count_states
    from appliance.store.queue.tenants import all_tenants

    counted = count_states(store)
    depth = {tier: sum(counted.get((state, tier), 0) for state in HELD) for tier in TIERS}
    remaining, utilized = {}, {}
    for tenant in all_tenants(store):
        graph, edge = (read_quota(store, limits, tenant.name, tier, moment, 0) for tier in TIERS)
        remaining[tenant.name] = graph.free
        utilized[tenant.name] = max(graph.utilization, edge.utilization)
    return QueueFigures(depth, remaining, utilized)


@frozen
class Room:
    """Whether some more submissions would fit into a tenant's budget now."""

    quota: Quota
    count: int  # so many are asked about
    waiting: int  # in the queue already: they go first
    slots: tuple[int, ...]  # Unix seconds, of those asked about; fewer if never
    now: int  # Unix seconds

    @property
    def fits(self) -> bool:
        """Whether all of them may go now."""
        return len(self.slots) == self.count and self.slots[-1] <= self.now

    @property
    def free_now(self) -> int:
        """How many of them may go now."""
        return sum(slot <= self.now for slot in self.slots)

    @property
    def next_free(self) -> int | None:
        """When the first of the others may go; None: never."""
        return next((slot for slot in self.slots if slot > self.now), None)


def room_for(
    store: Store, limits: Limits, tenant: str, tier: str, count: int, moment: Moment
) -> Room:
    """Say whether `count` submissions would fit; raises IncompleteError for no tenant."""
    require_tenant(store, tenant)
    waiting = waiting_count(store, tenant, tier)
    quota = read_quota(store, limits, tenant, tier, moment, waiting + count)
    return Room(quota, count, waiting, quota.slots[waiting:], moment.wall)


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


def empty_at(found: Sequence[Forecast], now: int) -> int | None:
    """Say when nothing waits any more; None: something never goes."""
    if any(one.last_slot is None for one in found):
        return None
    return max((one.last_slot or 0 for one in found), default=now)
