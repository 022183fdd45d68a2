"""Requests wait here and are logged together, by one thread.

A batch starts with the first body that waits, closes a few milliseconds later or when it
is full, and is answered when its checkpoint is published. While one is being written the
next one gathers, so many clients share the cost of making things durable.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

from appliance.errors import RemoteError, StoreError
from appliance.jobs.private_log.sequence import MAX_BATCH, Placed, Sequenced
from appliance.value import frozen

DEFAULT_AGE_SECONDS: Final = 0.005  # from the first body of a batch until it closes
RETRY_SECONDS: Final = 2.0  # between tries to publish what waits for its witnesses
PUSHBACK: Final = "pushback"
MAX_WAITING: Final = 4096  # bodies; the threads of the server are far fewer


@frozen
class Published:
    """One body, logged and covered by a published checkpoint."""

    placed: Placed
    batch: Sequenced


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
        self._queue: queue.Queue[_Waiting | None] = queue.Queue()
        self._gate = threading.Lock()  # guards _closed against a body slipping in behind it
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sequencer")
        self._is_unfinished = False  # a batch is signed, and waits for witnesses
        self.failure: Exception | None = None  # why nothing is logged any more

    def start(self) -> None:
        """Begin to log."""
        self._thread.start()

    def log(self, body: bytes, timeout: float) -> Published:
        """Wait until `body` is published.

        Raises what sequencing raised, StoreError if too many wait (reason pushback) or
        nothing is logged any more (closing), TimeoutError after `timeout` seconds: then it
        may still be logged.
        """
        waiting = _Waiting(body, Future())
        with self._gate:
            if self._closed:
                raise StoreError("this log takes no more entries", reason="closing")
            if self._queue.qsize() >= MAX_WAITING:
                raise StoreError("too many entries are waiting", reason=PUSHBACK)
            self._queue.put(waiting)
        return waiting.answer.result(timeout)

    def close(self) -> None:
        """Log what waits already, then stop. Returns when all of it is answered."""
        self._shut()
        self._thread.join()

    def _shut(self) -> None:
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._gather()
            if batch or (open_ and self._is_unfinished):
                self._log(batch)

    def _gather(self) -> tuple[list[_Waiting], bool]:
        """Wait for a batch; False beside the last one."""
        try:
            first = self._queue.get(timeout=RETRY_SECONDS if self._is_unfinished else None)
        except queue.Empty:
            return [], True
        if first is None:
            return [], False
        batch = [first]
        closes_at = time.monotonic() + self._age_seconds
        while len(batch) < MAX_BATCH:
            left = closes_at - time.monotonic()
            try:
                waiting = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                return batch, False
            batch.append(waiting)
        return batch, True

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
        for waiting, placed in zip(batch, done.placed, strict=True):
            waiting.answer.set_result(Published(placed, done))
