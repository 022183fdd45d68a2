"""Fetching many things at once, with few in memory, and stopping when told to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import SimpleQueue
from typing import Final, TypeVar

FIRST_FEW: Final = 2  # are fetched before it is known how large they are
# How long who hashes what came may keep a thread waiting whose answer is there: Python's own
# 5 ms are a sixth of a round trip.
SWITCH_SECONDS: Final = 0.001

T = TypeVar("T")


class _Switching:
    """Switches threads sooner while anything is fetched; it is the whole process's to share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_fetching = 0
        self._usual_seconds = 0.0

    def begin(self) -> None:
        with self._lock:
            if self._n_fetching == 0:
                self._usual_seconds = sys.getswitchinterval()
                sys.setswitchinterval(SWITCH_SECONDS)
            self._n_fetching += 1

    def end(self) -> None:
        with self._lock:
            self._n_fetching -= 1
            if self._n_fetching == 0:
                sys.setswitchinterval(self._usual_seconds)


_switching = _Switching()


def fetch_all(
    wanted: Iterable[T],
    fetch: Callable[[T, threading.Event], bytes],
    *,
    threads: int,
    ahead: int,
    max_bytes: int | None = None,
) -> Iterator[tuple[T, bytes]]:
    """Yield each wanted thing and what `fetch` returns for it, as they come.

    At most `ahead` of them are being fetched or waiting to be yielded, and at most so many
    that all together have `max_bytes`, as far as can be told from the largest that came: a
    few until then, and never less than one. The first that
    raises ends it with that error. However it ends, by an error, by Ctrl-C or because the
    caller closes it: the event that `fetch` gets is set, and no thread is left behind. That
    takes about a quarter of a second, or as long as a thread may take to connect.
    """
    stopped = threading.Event()
    asked: SimpleQueue[T | None] = SimpleQueue()  # None: there will be no more
    done: SimpleQueue[tuple[T, bytes, BaseException | None]] = SimpleQueue()

    def work() -> None:
        while (thing := asked.get()) is not None and not stopped.is_set():
            try:
                done.put((thing, fetch(thing, stopped), None))
            except BaseException as error:  # noqa: BLE001 whoever asked raises it
                done.put((thing, b"", error))

    rest = iter(wanted)
    room, largest, n_pending = ahead, 0, 0
    workers: list[threading.Thread] = []
    _switching.begin()
    try:
        while True:
            if max_bytes is not None:
                room = min(ahead, max(max_bytes // (largest or max_bytes // FIRST_FEW), 1))
            for thing in islice(rest, max(room - n_pending, 0)):
                n_pending += 1
                if len(workers) < min(threads, n_pending):
                    workers.append(threading.Thread(target=work, name=f"fetch-{len(workers)}"))
                    workers[-1].start()
                asked.put(thing)
            if not n_pending:
                return
            thing, data, error = done.get()
            n_pending -= 1
            if error is not None:
                raise error
            largest = max(largest, len(data))
            yield thing, data
    finally:
        _switching.end()
        stopped.set()
        for _ in workers:
            asked.put(None)
        for worker in workers:
            worker.join()
