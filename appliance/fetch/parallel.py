"""Fetching many things at once, with few in memory, and stopping when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def fetch_all(
    wanted: Iterable[T],
    fetch: Callable[[T, threading.Event], bytes],
    *,
    threads: int,
    ahead: int,
) -> Iterator[tuple[T, bytes]]:
    """Yield each wanted thing and what `fetch` returns for it, as they come.

    At most `ahead` of them are being fetched or waiting to be yielded. The first that
    raises ends it with that error. However it ends, by an error, by Ctrl-C or because the
    caller closes it: the event that `fetch` gets is set, and no thread is left behind. That
    takes about a quarter of a second, or as long as a thread may take to connect.
    """
    stopped = threading.Event()
    done: SimpleQueue[Future[bytes]] = SimpleQueue()
    pending: dict[Future[bytes], T] = {}
    rest = iter(wanted)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
    try:
        while True:
            for thing in islice(rest, ahead - len(pending)):
                future = executor.submit(fetch, thing, stopped)
                pending[future] = thing
                future.add_done_callback(done.put)
            if not pending:
                return
            future = done.get()
            yield pending.pop(future), future.result()
    finally:
        stopped.set()
        executor.shutdown(cancel_futures=True)
