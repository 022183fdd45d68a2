"""Sending the queue: due items within budget, a few at a time, each done only with its proof.

    1. one transaction: items become `sending`, attempts and budget spends are written
    2. the exact bytes go out, and what comes back is verified
    3. one transaction: receipt and `logged`, or why not and when again

Die before 1 commits: nothing happened. Between 1 and 3: the items are still `sending` and
their slots are spent; the next drain sends the same bytes again, and a log that has them
says so. So nothing is lost, no window goes over, and nothing is done without a proof.

It is over when `_pause_or_end` says None: nothing is due, no slot of a budget is free (and
nobody waits for one), the limit is reached, or `RetryState.stop` is set: here, if the log is
quarantined, takes nothing from us or asks for a long pause; in retry_state.py, if it is gone or
refuses one item after another.

All SQL is in the calling thread; the others only talk to the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final

from appliance.errors import ApplianceError, RefusedError, RemoteError
from appliance.jobs.progress import SILENT, Progress
from appliance.jobs.queue.budget_scheduler import BudgetScheduler
from appliance.jobs.queue.quota import keep_clock
from appliance.jobs.queue.retry_state import RetryState
from appliance.jobs.queue.settings import QueueSettings
from appliance.jobs.queue.submit import Outcome, Server, Verdict, in_doubt, send_item
from appliance.policy.budget import Moment
from appliance.store.database import Store
from appliance.store.home.counters import count, observe
from appliance.store.queue.attempts import (
    begin_attempts,
    end_attempt,
    leave_sending,
    put_receipt,
    settle_spend,
    take_back_interrupted,
)
from appliance.store.queue.budget import forget_old_spends
from appliance.store.queue.queue import (
    LOGGED,
    POSTPONED,
    QUEUED,
    REFUSED,
    QueueItem,
    is_anything_waiting,
    unsent_count,
)
from appliance.value import frozen

LONGEST_WAIT_SECONDS: Final = 60.0  # a server that asks for more is left alone in this drain
POLL_SECONDS: Final = 5.0  # how often --wait looks for what others queued
SHORT_PAUSE_SECONDS: Final = 0.1
GATHER_SECONDS: Final = 0.02  # after the first answer, for those that come with it
LAST_ANSWERS_SECONDS: Final = 5.0  # what is under way may take so long after an interrupt
LATENCY_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SUBMISSIONS: Final = "attestor_rekor_submissions_total"


@frozen
class Pace:
    """The drain's time and chance."""

    moment: Callable[[], Moment]
    monotonic: Callable[[], float]  # seconds
    sleep: Callable[[float], None]
    chance: Callable[[], float]  # uniform in [0, 1)


@frozen
class DrainReport:
    """What a drain did."""

    sent: int  # attempts
    logged: int  # items done, duplicates among them
    duplicates: int  # the log had them already
    refused: int  # parked: the log will never take them
    postponed: int  # tried as often as one drain may
    interrupted: int  # of an earlier drain that died, taken up again
    newest_note: bytes | None  # the largest checkpoint the log answered with, verified
    errors: tuple[ApplianceError, ...]  # why it ended early, and what must be looked at


@frozen
class _Flight:
    """One item under way."""

    item: QueueItem
    reserved: int  # budget time


class Drain:
    """One run over the queue."""

    def __init__(
        self,
        store: Store,
        server: Server,
        settings: QueueSettings,
        pace: Pace,
        *,
        threads: int,
        limit: int | None = None,
        until_empty: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        self._store, self._server, self._settings, self._pace = store, server, settings, pace
        self._threads, self._limit, self._until_empty = threads, limit, until_empty
        self._progress = progress
        self._flying: dict[Future[tuple[Outcome, float]], _Flight] = {}
        self._retries = RetryState(
            settings.retry, pace.chance, threads=threads, until_empty=until_empty
        )
        self._counts = dict.fromkeys(("sent", "logged", "duplicates", "refused"), 0)
        self._newest: tuple[int, bytes] | None = None

    def run(self) -> DrainReport:
        """Send what is due, until `_pause_or_end` says that it is over.

        Raises StoreError; what the log says is in the report.
        """
        moment = self._pace.moment()
        interrupted = take_back_interrupted(self._store, moment.wall)
        api_version = self._server.log.api_version
        self._scheduler = BudgetScheduler(self._store, self._settings.limits, api_version, moment)
        self._progress.stage("items", self._waiting)
        executor = ThreadPoolExecutor(self._threads, thread_name_prefix="submit")
        try:
            self._loop(executor)
        except BaseException:
            # What the log says in these seconds need not be asked again.
            wait(self._flying, LAST_ANSWERS_SECONDS)
            self._record_and_begin(more=False)
            raise
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        return self._report(interrupted)

    def _waiting(self) -> int:
        count = unsent_count(self._store, self._server.log.api_version)
        return count if self._limit is None else min(count, self._limit)

    def _loop(self, executor: ThreadPoolExecutor) -> None:
        while True:
            self._progress(0)  # however long it waits for a slot
            for flight in self._record_and_begin(more=True):
                self._flying[executor.submit(self._send, flight.item)] = flight
            if self._flying:
                wait(self._flying, POLL_SECONDS, FIRST_COMPLETED)
                # A log answers many at once. Whoever records and sends them together shares
                # the cost of making things durable, here and over there.
                wait(self._flying, GATHER_SECONDS)
                continue
            pause = self._pause_or_end()
            if pause is None:
                return
            self._pace.sleep(pause)

    def _send(self, item: QueueItem) -> tuple[Outcome, float]:
        started = self._pace.monotonic()
        return send_item(self._server, item), self._pace.monotonic() - started

    def _room(self) -> int:
        if self._retries.stop or self._retries.paused_seconds(self._scheduler.clock) > 0:
            return 0
        room = self._threads - len(self._flying)
        if self._limit is not None:
            room = min(room, self._limit - self._counts["sent"])
        return room

    def _record_and_begin(self, *, more: bool) -> Sequence[_Flight]:
        """Record what came back, then begin as many again: one transaction for both."""
        self._scheduler.advance(self._pace.moment())
        # A sync beside us may find out at any time.
        self._retries.stop = self._retries.stop or in_doubt(self._store, self._server.log)
        done = [future for future in self._flying if future.done()]
        if not done and (not more or self._room() <= 0):
            return ()
        with self._store.atomic():
            for future in done:
                outcome, seconds = future.result()
                self._record(self._flying.pop(future), outcome, seconds)
            room = self._room() if more else 0
            chosen = self._scheduler.choose(room, self._retries.passed_over)
            now, reserved = self._scheduler.clock.moment.wall, self._scheduler.reserved_until
            begin_attempts(self._store, chosen, self._server.writer.description, now, reserved)
            keep_clock(self._store, self._scheduler.clock)
        # From here on it is durable that these may reach the log.
        self._counts["sent"] += len(chosen)
        for item in chosen:
            self._retries.begun(item)
        return [_Flight(item, reserved) for item in chosen]

    def _record(self, flight: _Flight, outcome: Outcome, seconds: float) -> None:
        item, store = flight.item, self._store
        # `item` is as it was before begin_attempts claimed it, so this attempt is one more.
        now, attempt = self._scheduler.clock.moment.wall, item.attempts + 1
        end_attempt(store, item, attempt, outcome.outcome, outcome.message, now)
        counts_at: int | None = flight.reserved
        if outcome.certainly_not_logged:
            counts_at = None
        elif outcome.verdict is Verdict.LOGGED:
            counts_at = min(flight.reserved, self._scheduler.clock.budget_time)
        settle_spend(store, item, attempt, counts_at)
        self._scheduler.settle(item, flight.reserved, counts_at)
        state, next_at = self._next_state(item, outcome)
        if outcome.entry is not None:
            log_id, entry = self._server.log.id, outcome.entry
            put_receipt(store, item, log_id, entry.log_index, entry.json, now)
        reason = "" if state == LOGGED else outcome.outcome
        self._progress(int(state in (LOGGED, REFUSED)))
        leave_sending(
            *(store, item, state),
            reason=reason,
            message=outcome.message,
            now=now,
            next_at=next_at,
        )
        tier = {"tier": item.what.tier}
        count(store, _SUBMISSIONS, {**tier, "status": state})
        if state == LOGGED:
            name = "attestor_rekor_submission_latency_seconds"
            observe(store, name, tier, seconds, LATENCY_BUCKETS)
        if outcome.error_type is not None:
            labels = {"error_type": outcome.error_type}
            count(store, "attestor_rekor_submission_errors_total", labels)

    def _next_state(self, item: QueueItem, outcome: Outcome) -> tuple[str, int]:
        """Return the state an item goes into and when it may be sent again."""
        now, error = self._scheduler.clock.moment.wall, outcome.error
        if error is None:
            self._retries.answered()
            self._take_note(outcome)
            return LOGGED, now
        if outcome.verdict is Verdict.STOP:
            self._retries.stop = error
            return QUEUED, now
        if outcome.verdict is Verdict.PARK and self._retries.stop is not None:
            return QUEUED, now  # others were refused before it: asked again by the next drain
        if outcome.verdict is Verdict.PARK:
            self._counts["refused"] += 1
            self._retries.parked(error)
            self._retries.keep(_parked(item, error), REFUSED)
            return REFUSED, now
        return POSTPONED, self._retries.failed(item, outcome, error, self._scheduler.clock)

    def _take_note(self, outcome: Outcome) -> None:
        self._counts["logged"] += 1
        self._counts["duplicates"] += outcome.outcome == "duplicate"
        proof = outcome.entry.inclusion_proof if outcome.entry else None
        if proof is not None and (self._newest is None or proof.tree_size > self._newest[0]):
            self._newest = (proof.tree_size, proof.checkpoint.encode())

    def _pause_or_end(self) -> float | None:
        """Return how long to wait, now that nothing is under way; None: it is over."""
        retries, clock = self._retries, self._scheduler.clock
        if retries.stop or (self._limit is not None and self._counts["sent"] >= self._limit):
            return None
        asked = retries.paused_seconds(clock)
        if asked > LONGEST_WAIT_SECONDS and not self._until_empty:
            retries.stop = RemoteError(
                f"{self._server.writer.description}: asks us to wait {asked} s",
                reason="rate-limited",
                next_step="run 'attestor queue drain' again after that",
            )
            return None
        if asked > 0:
            return float(asked)
        slot = self._scheduler.seconds_to_next(retries.passed_over)
        retry = retries.seconds_to_retry(clock)
        if not self._until_empty:
            # Only for retries, and not for those the budget has no slot for.
            return float(retry) if retry else (SHORT_PAUSE_SECONDS if slot == 0 else None)
        if not is_anything_waiting(self._store, self._server.log.api_version):
            return None
        # A retry that is due already waits for its slot.
        known = [float(one) for one in (slot, retry or None) if one is not None]
        return min(POLL_SECONDS, max(SHORT_PAUSE_SECONDS, min(known, default=POLL_SECONDS)))

    def _report(self, interrupted: int) -> DrainReport:
        with self._store.atomic():
            forget_old_spends(self._store, self._scheduler.clock.budget_time)
        return DrainReport(
            **self._counts,
            postponed=len(self._retries.passed_over),
            interrupted=interrupted,
            newest_note=self._newest[1] if self._newest else None,
            errors=self._retries.errors,
        )


def _parked(item: QueueItem, error: ApplianceError) -> RefusedError:
    return RefusedError(
        f"item {item.id[:12]} is parked: {error.message}",
        reason=error.reason,
        next_step=f"see 'attestor queue show {item.id[:12]}'; then queue retry or cancel it",
    )
