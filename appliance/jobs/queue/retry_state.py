"""What failures mean for the rest of a drain: when to try again, when to let it be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from appliance.errors import ApplianceError, RefusedError
from appliance.jobs.queue.settings import Retry
from appliance.jobs.queue.submit import Outcome
from appliance.policy.budget import BudgetClock
from appliance.store.queue.queue import QueueItem

PARKED_IN_A_ROW: Final = 3  # refusals in a row after which it is not the items
SILENCE: Final = 20  # failures in a row, of any items, after which the log counts as gone


class RetryState:
    """The failures of one drain, and what follows from them."""

    def __init__(
        self, retry: Retry, chance: Callable[[], float], *, threads: int, until_empty: bool
    ) -> None:
        self._retry, self._chance = retry, chance
        self._until_empty = until_empty
        self._enough = max(SILENCE, 2 * threads)
        self._silence = 0  # failures in a row
        self._parked = 0  # refusals in a row
        self._failures: dict[int, int] = {}  # by item
        self._retry_at: dict[int, int] = {}  # Unix seconds, by item that may be tried again
        self._paused_until = 0  # budget time
        self._kept: dict[str, ApplianceError] = {}
        self.passed_over: set[int] = set()  # items tried as often as one drain may
        self.stop: ApplianceError | None = None  # why nothing more is sent

    @property
    def errors(self) -> tuple[ApplianceError, ...]:
        """Why it ended early, and the first of each kind that somebody should look at."""
        others = [one for one in self._kept.values() if one is not self.stop]
        return (*([self.stop] if self.stop else []), *others)

    def keep(self, error: ApplianceError, kind: str) -> None:
        """Remember the first error of a kind."""
        self._kept.setdefault(kind, error)

    def begun(self, item: QueueItem) -> None:
        """Take note that an item is under way."""
        self._retry_at.pop(item.number, None)

    def answered(self) -> None:
        """Take note that the log took an item."""
        self._silence = self._parked = 0

    def parked(self, error: ApplianceError) -> None:
        """Take note that the log refused an item: too many in a row are not the items' fault."""
        self._silence = 0
        self._parked += 1
        if self._parked >= PARKED_IN_A_ROW:
            self.stop = RefusedError(
                f"{self._parked} items in a row were refused, the last with: {error.message}",
                reason="refused-in-a-row",
                next_step="see 'attestor queue list --state refused'; what is right is sent"
                " by the next drain",
            )

    def failed(
        self, item: QueueItem, outcome: Outcome, error: ApplianceError, clock: BudgetClock
    ) -> int:
        """Return when an item that failed may be sent again, in Unix seconds."""
        failures = self._failures[item.number] = self._failures.get(item.number, 0) + 1
        tried = max(failures, item.attempts + 1)
        now = clock.moment.wall
        again = self._retry.backoff.next_try(now, tried, self._chance(), outcome.retry_after)
        if outcome.retry_after:  # it is the server that asks, not the item that is wrong
            self._pause(outcome.retry_after, clock)
        self._silence += 1
        if self._silence >= self._enough:
            if self._until_empty:
                self._silence = 0
                self._pause(self._retry.backoff.longest, clock)
            else:
                self.stop = error
        if failures >= self._retry.max_attempts and not self._until_empty:
            self.passed_over.add(item.number)
            self.keep(error, error.reason)
        else:
            self._retry_at[item.number] = again
        return again

    def paused_seconds(self, clock: BudgetClock) -> int:
        """Return for how long the server is to be left alone."""
        return max(0, self._paused_until - clock.budget_time)

    def seconds_to_retry(self, clock: BudgetClock) -> int | None:
        """Return how long until an item that failed may be sent again; None if none may."""
        if not self._retry_at:
            return None
        return max(0, min(self._retry_at.values()) - clock.moment.wall)

    def _pause(self, seconds: float, clock: BudgetClock) -> None:
        self._paused_until = max(self._paused_until, clock.budget_time + math.ceil(seconds))
