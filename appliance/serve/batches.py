"""Requests wait here and are logged together, by one thread.

A batch starts with the first body that waits, closes a few milliseconds later or when it
is full, and is answered when its checkpoint is published. While one is being written the
next one gathers, so many clients share the cost of making things durable.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

from appliance.errors import RemoteError, StoreError
from appliance.jobs.private_log.sequence import MAX_BATCH, Placed, Sequenced
from appliance.serve.batch_answers import BatchAnswers
from appliance.value import frozen

DEFAULT_AGE_SECONDS: Final = 0.005  # from the first body of a batch until it closes
RETRY_SECONDS: Final = 2.0  # between tries to publish what waits for its witnesses
PUSHBACK: Final = "pushback"
MAX_WAITING: Final = 4096  # bodies


@frozen
class Published:
    """One body, logged and covered by a published checkpoint."""

    placed: Placed
    answers: BatchAnswers  # to it, unless it was logged before


@frozen
class _Waiting:
    body: bytes
    answer: Future[Published]


class Batches:
    """The queue before a private log, and the only thread that appends to it."""

    def __init__(
        self,
        sequence: Callable[[Sequence[bytes]], Sequenced],
        *,
        on_failure: Callable[[Exception], bool],
        age_seconds: float = DEFAULT_AGE_SECONDS,
    ) -> None:
        self._sequence = sequence
        self._on_failure = on_failure  # hears why; whether the next batch may be tried
        self._age_seconds = age_seconds
        self._queue: deque[_Waiting] = deque()
        # Guards what follows; told of the first body, of a full batch and of the end.
        self._gate = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sequencer")
        self._is_unfinished = False  # a batch is signed, and waits for witnesses
        self.failure: Exception | None = None  # why nothing is logged any more

    def start(self) -> None:
        """Begin to log."""
        self._thread.start()

    def add(self, body: bytes) -> Future[Published]:
        """Let `body` wait to be logged; what is returned is done when it is published.

        It then raises what sequencing raised. Raises StoreError if too many wait (reason
        pushback) or nothing is logged any more (closing).
        """
        waiting = _Waiting(body, Future())
        with self._gate:
            if self._closed:
                raise StoreError("this log takes no more entries", reason="closing")
            if len(self._queue) >= MAX_WAITING:
                raise StoreError("too many entries are waiting", reason=PUSHBACK)
            self._queue.append(waiting)
            if len(self._queue) in (1, MAX_BATCH):
                self._gate.notify()
        return waiting.answer

    def close(self) -> None:
        """Log what waits already, then stop. Returns when all of it is answered."""
        self._shut()
        self._thread.join()

    def _shut(self) -> None:
        with self._gate:
            self._closed = True
            self._gate.notify()

    def _run(self) -> None:
        while True:
            batch = self._gather()
            if not batch and self._closed:
                return
            self._log(batch)

    def _gather(self) -> list[_Waiting]:
        """Wait for a batch; an empty one if an unfinished one is to be tried, or at the end."""
        with self._gate:
            retry = RETRY_SECONDS if self._is_unfinished else None
            self._gate.wait_for(lambda: self._queue or self._closed, retry)
            closes_at = time.monotonic() + self._age_seconds
            while 0 < len(self._queue) < MAX_BATCH and not self._closed:
                left = closes_at - time.monotonic()
                if left <= 0:
                    break
                self._gate.wait(left)
            return [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]

    def _log(self, batch: Sequence[_Waiting]) -> None:
        try:
            if self.failure is not None:
                raise StoreError("this log takes no more entries", reason="closing")
            done = self._sequence([waiting.body for waiting in batch])
        except Exception as error:  # noqa: BLE001 whatever it is, those who wait must hear of it
            self._is_unfinished = isinstance(error, RemoteError)
            if self.failure is None and not self._on_failure(error):
                self.failure = error
                self._shut()
            for waiting in batch:
                waiting.answer.set_exception(error)
            return
        self._is_unfinished = False
        answers = BatchAnswers(done.checkpoint, done.tree)
        for waiting, placed in zip(batch, done.placed, strict=True):
            waiting.answer.set_result(Published(placed, answers))
