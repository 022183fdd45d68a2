"""Whose item goes out next, within every budget, while a drain runs (docs/queue.md).

Holds each tenant's windows in memory; the drain's lock keeps anybody else from spending.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection

from appliance.jobs.queue.quota import clock_at, limits_of, window_spends
from appliance.policy.budget import (
    SETTLE_SECONDS,
    TIERS,
    Limits,
    Moment,
    Turn,
    Window,
    free_slots,
    next_slot,
    next_turn,
    used,
)
from appliance.store.database import Store
from appliance.store.queue.queue import QueueItem, due_items
from appliance.store.queue.tenants import all_tenants


class BudgetScheduler:
    """The budgets of one drain."""

    def __init__(self, store: Store, limits: Limits, api_version: int, moment: Moment) -> None:
        self._store = store
        self._limits = limits  # everybody's
        self._windows: dict[Turn, tuple[Window, ...]] = {}
        self._api_version = api_version
        self._spent: dict[Turn, list[int]] = {}  # budget time, ascending; those under way too
        self._last_turn: dict[Turn, int] = {}
        self._scheduler = 0
        self.clock = clock_at(store, moment)

    def advance(self, moment: Moment) -> None:
        """Let budget time go on."""
        self.clock = self.clock.at(moment)

    @property
    def reserved_until(self) -> int:
        """When something that is sent now counts, until it is known better. Budget time."""
        return self.clock.budget_time + SETTLE_SECONDS

    def choose(self, room: int, passed_over: Collection[int]) -> list[QueueItem]:
        """Take up to `room` items and their slots; call it inside store.atomic().

        What was cancelled or added since the last call is seen: nothing is kept in between.
        """
        chosen: list[QueueItem] = []
        if room <= 0:
            return chosen
        waiting = {
            turn: items
            for turn in self._all_turns()
            if self._free(turn) > 0 and (items := self._due(turn, room, passed_over))
        }
        while waiting and len(chosen) < room:
            turn = next_turn({one: self._used(one) for one in waiting}, self._last_turn)
            chosen.append(waiting[turn].pop(0))
            insort(self._spends(turn), self.reserved_until)
            self._scheduler += 1
            self._last_turn[turn] = self._scheduler
            if not waiting[turn] or self._free(turn) == 0:
                del waiting[turn]
        return chosen

    def settle(self, item: QueueItem, reserved: int, counts_at: int | None) -> None:
        """Say when an item that was under way counts after all; None: it does not."""
        spent = self._spends((item.what.tenant, item.what.tier))
        del spent[bisect_left(spent, reserved)]
        if counts_at is not None:
            insort(spent, counts_at)

    def seconds_to_next(self, passed_over: Collection[int]) -> int | None:
        """Return how long until something that is due has a slot; None if nothing is due."""
        waits = []
        for turn in self._all_turns():
            if self._due(turn, 1, passed_over):
                now = self.clock.budget_time
                slot = next_slot(self._spends(turn), self._windows_of(turn), now)
                if slot is not None:
                    waits.append(slot - now)
        return min(waits, default=None)

    def _all_turns(self) -> list[Turn]:
        return [(tenant.name, tier) for tenant in all_tenants(self._store) for tier in TIERS]

    def _due(self, turn: Turn, limit: int, passed_over: Collection[int]) -> list[QueueItem]:
        tenant, tier = turn
        now = self.clock.moment.wall
        limit += len(passed_over)
        found = due_items(self._store, tenant, tier, self._api_version, now, limit)
        return [one for one in found if one.number not in passed_over]

    def _windows_of(self, turn: Turn) -> tuple[Window, ...]:
        if turn not in self._windows:
            tenant, tier = turn
            self._windows[turn] = limits_of(self._store, self._limits, tenant).windows(tier)
        return self._windows[turn]

    def _spends(self, turn: Turn) -> list[int]:
        if turn not in self._spent:
            tenant, tier = turn
            now = self.clock.budget_time
            self._spent[turn] = window_spends(
                self._store, tenant, tier, self._windows_of(turn), now
            )
        return self._spent[turn]

    def _free(self, turn: Turn) -> int:
        return free_slots(self._spends(turn), self._windows_of(turn), self.clock.budget_time)

    def _used(self, turn: Turn) -> int:
        window = max(self._windows_of(turn), key=lambda one: one.seconds)
        return used(self._spends(turn), window, self.clock.budget_time)
