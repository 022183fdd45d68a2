"""How much may be submitted when: sliding windows on a clock that cannot be fooled.

A window of W seconds and limit N says: of any W seconds, at most N submissions may fall
into. What counts is when the log can have taken a submission, at the latest: a slot is
reserved before the first byte leaves, as of SETTLE_SECONDS later, and moved to when the
answer was there. Clocks count whole seconds, so a slot is free again W + 1 seconds later.

Budget time is what the windows are measured in. It goes on by what the machine's uptime
says went by; across a restart by what the clock says, and if that was set back, not at
all. So it never decreases: a clock set back grants nothing, and the windows go on sliding
from there, so it blocks nothing for ever. A clock that is set forward while the machine
is off cannot be told from time that went by.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import Final

from appliance.value import frozen

Turn = tuple[str, str]  # tenant, tier

GRAPH: Final = "graph"
EDGE: Final = "edge"
TIERS: Final = (GRAPH, EDGE)
TRIGGERS: Final = ("cvss", "policy-gate", "escalation")  # what makes an edge bundle due
HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 86_400
SETTLE_SECONDS: Final = 120  # after this, a log takes nothing any more of what was sent


@frozen
class Window:
    """At most `limit` submissions in any `seconds`."""

    name: str  # hourly, burst or daily
    seconds: int
    limit: int


@frozen
class Limits:
    """What the configuration allows each tenant."""

    hourly: int = 100
    burst_hourly: int = 200  # the pace of a burst, by the hour
    burst_seconds: int = 600  # how long one may last
    daily_edge: int = 50

    def windows(self, tier: str) -> tuple[Window, ...]:
        """Return the windows that a submission of this tier has to fit into."""
        if tier == EDGE:
            return (Window("daily", DAY_SECONDS, self.daily_edge),)
        burst = -(-self.burst_hourly * self.burst_seconds // HOUR_SECONDS)  # rounded up
        return (
            Window("hourly", HOUR_SECONDS, self.hourly),
            Window("burst", self.burst_seconds, burst),
        )


@frozen
class Moment:
    """What the machine's clocks say."""

    wall: int  # Unix seconds; can be set
    boot: str = ""  # which start of the machine; empty if nobody knows
    uptime: int = 0  # seconds since that start; cannot be set


@frozen
class BudgetClock:
    """Budget time, and the moment at which it was that."""

    budget_time: int  # seconds
    moment: Moment

    def at(self, moment: Moment) -> BudgetClock:
        """Return the clock at a later moment, whatever the wall clock says."""
        last = self.moment
        if moment.boot and moment.boot == last.boot:
            elapsed = moment.uptime - last.uptime
        else:
            elapsed = moment.wall - last.wall
        return BudgetClock(self.budget_time + max(0, elapsed), moment)


def start_clock(moment: Moment) -> BudgetClock:
    """Start budget time where the clock is."""
    return BudgetClock(moment.wall, moment)


def used(counts_at: Sequence[int], window: Window, now: int) -> int:
    """Return how many of `counts_at`, which ascend, are in the window that ends at `now`."""
    return len(counts_at) - bisect_left(counts_at, now - window.seconds)


def free_slots(counts_at: Sequence[int], windows: Sequence[Window], now: int) -> int:
    """Return how many may be submitted at `now`. All times here are budget time."""
    return max(0, min(window.limit - used(counts_at, window, now) for window in windows))


def next_slot(counts_at: Sequence[int], windows: Sequence[Window], now: int) -> int | None:
    """Return from when on one more may be submitted; None if a limit is 0."""
    slot = now
    for window in windows:
        if window.limit == 0:
            return None
        if len(counts_at) >= window.limit:
            slot = max(slot, counts_at[-window.limit] + window.seconds + 1)
    return slot


def slot_times(
    counts_at: Sequence[int], windows: Sequence[Window], now: int, count: int
) -> list[int]:
    """Return when each of the next `count` may be submitted if each takes its first slot.

    Fewer are returned only if a limit is 0.
    """
    times = list(counts_at)
    slots: list[int] = []
    for _ in range(count):
        slot = next_slot(times, windows, slots[-1] if slots else now)
        if slot is None:
            break
        slots.append(slot)
        insort(times, slot)
    return slots


def utilization(counts_at: Sequence[int], windows: Sequence[Window], now: int) -> float:
    """Return the fullest window's share, 0 to 1; a limit of 0 is full."""
    return max(
        min(1.0, used(counts_at, window, now) / window.limit) if window.limit else 1.0
        for window in windows
    )


def next_turn(used_by: Mapping[Turn, int], last_turn: Mapping[Turn, int]) -> Turn:
    """Choose whose turn it is among those that have something to send and a free slot.

    It is the tenant (and tier) that used least of its present window; among equals the one
    whose last turn is longest ago, so they alternate; among those that had none, by name.
    """
    return min(used_by, key=lambda who: (used_by[who], last_turn.get(who, -1), who))
