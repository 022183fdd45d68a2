"""What counts against the budgets, and how far budget time has got (policy/budget.py)."""

from __future__ import annotations

from typing import Final

from appliance.store.database import Store
from appliance.value import frozen

KEPT_SECONDS: Final = 2 * 86_400  # of budget time; the longest window is a day


@frozen
class ClockReading:
    """Budget time, and what the machine's clocks said then."""

    budget_time: int  # seconds
    wall: int  # Unix seconds
    boot: str  # which start of the machine; empty: unknown
    uptime: int  # seconds since then


def read_clock(store: Store) -> ClockReading | None:
    """Return how far budget time has got; None if nothing was ever sent."""
    row = store.row("SELECT budget_time, wall, boot, uptime FROM budget_clock")
    return None if row is None else ClockReading(*tuple(row))


def write_clock(store: Store, reading: ClockReading) -> None:
    """Remember how far budget time has got."""
    store.execute(
        "INSERT INTO budget_clock VALUES (1, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " budget_time = excluded.budget_time, wall = excluded.wall, boot = excluded.boot,"
        " uptime = excluded.uptime",
        [reading.budget_time, reading.wall, reading.boot, reading.uptime],
    )


def spends(store: Store, tenant: str, tier: str, since: int) -> list[int]:
    """Return when a tenant's submissions of a tier count, ascending, from `since` on."""
    rows = store.rows(
        "SELECT counts_at FROM budget_spend WHERE tenant = ? AND tier = ? AND counts_at >= ?"
        " ORDER BY counts_at",
        [tenant, tier, since],
    )
    return [row["counts_at"] for row in rows]


def forget_old_spends(store: Store, budget_time: int) -> None:
    """Drop what no window reaches any more; the attempts themselves stay."""
    store.execute("DELETE FROM budget_spend WHERE counts_at < ?", [budget_time - KEPT_SECONDS])
