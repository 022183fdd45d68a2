"""What the backends answer: fetched for a while without the home's lock if they are slow."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import chain
from typing import Any, Final, Self, TypeVar

from appliance.errors import ApplianceError, RemoteError
from appliance.fetch.http import HttpClient
from appliance.fetch.rekor_v1 import RekorV1Log
from appliance.fetch.rekor_v2 import IS_V1, RekorV2Log
from appliance.jobs.mirror.directory_source import DirectorySource
from appliance.jobs.mirror.tar_source import TarSource
from appliance.rekor.log_info_v1 import LogInfo
from appliance.runs.session import Session
from appliance.runs.sources import FileSource, open_source
from appliance.store.mirror.logs import Backend
from appliance.tlog.log_source import ending
from appliance.tlog.tile import EntryBundle, Tile

LOCKED_SECONDS: Final = 2.0  # how long the lock is held while no backend answers
EARNED_SECONDS: Final = 0.2  # and how much longer for each answer: a source at work goes on
KEPT_BYTES: Final = 16 * 1024 * 1024  # that came without the lock, for one backend

P = TypeVar("P", Tile, EntryBundle)
Came = tuple[Tile | EntryBundle, bytes]


class Answered:
    """A backend's source whose checkpoint was asked for before; what came is kept."""

    def __init__(
        self,
        backend: Backend,
        http: HttpClient,
        source: RekorV1Log | RekorV2Log | FileSource | None,
        failure: ApplianceError | None,
    ) -> None:
        self._backend = backend
        self._http = http
        self._source = source
        self._note: bytes | None = None
        self._failure = failure
        self._lacking: dict[Tile | EntryBundle, None] = {}  # was wanted, and has not come
        self._came: dict[Tile | EntryBundle, bytes] = {}  # meanwhile; the newest, KEPT_BYTES
        self._n_bytes = 0
        self.instance: tuple[RekorV1Log, LogInfo] | None = None  # if it is one of Rekor v1

    def begin_slice(self) -> None:
        """Let what is slow raise SLICE_OVER soon: the home's lock is held from now on.

        Not for an instance of Rekor v1: of what it answers nothing can be kept for later.
        """
        if self.instance is None:
            self._http.begin_slice(LOCKED_SECONDS, EARNED_SECONDS)

    def stop(self) -> None:
        """Let whatever is on its way end at once."""
        self._http.begin_slice(0.0, 0.0)

    def go_on(self) -> None:
        """Fetch what the last slice lacked, while nobody waits; an error shows in the next one."""
        self._http.begin_slice(math.inf, 0.0)
        lacking, source, brought = list(self._lacking), self._open(), 0
        tiles = [one for one in lacking if isinstance(one, Tile)]
        bundles = [one for one in lacking if isinstance(one, EntryBundle)]
        with (
            contextlib.suppress(ApplianceError),
            ending(source.tiles(tiles)) as first,
            ending(source.entry_bundles(bundles)) as then,
        ):
            for place, data in chain[Came](first, then):
                self._keep(place, data)
                brought += len(data)
                if brought >= KEPT_BYTES:
                    break

    def _keep(self, place: Tile | EntryBundle, data: bytes) -> None:
        self._came[place] = data
        self._n_bytes += len(data)
        while self._n_bytes > KEPT_BYTES:
            self._n_bytes -= len(self._came.pop(next(iter(self._came))))

    def ask(self, stopped: threading.Event) -> None:
        """Fetch the checkpoint; an error is for whoever wants it."""
        try:
            if isinstance(self._source, RekorV2Log):
                self._note = self._source.checkpoint(stopped)
            elif isinstance(self._source, DirectorySource | TarSource):
                self._note = self._source.checkpoint()
            elif self._source is not None:
                self.instance = self._source, self._source.info(stopped)
        except ApplianceError as error:
            self._failure = error
            if isinstance(error, RemoteError) and error.reason == IS_V1:
                self._ask_v1(stopped)

    def _ask_v1(self, stopped: threading.Event) -> None:
        """Ask as one asks an instance of version 1, where nobody had said that it is one."""
        url = self._backend.read_url or self._backend.base_url or ""
        try:
            found = RekorV1Log(self._http, url)
            self.instance, self._failure = (found, found.info(stopped)), None
            self._source = found
        except ApplianceError as error:
            self._failure = error

    @property
    def description(self) -> str:
        """The source's own."""
        return self._source.description if self._source else ""

    @property
    def exchange(self) -> Mapping[str, Any]:
        """The source's own."""
        return self._source.exchange if self._source else {}

    def checkpoint(self) -> bytes:
        """Return the note that came; raises what came instead."""
        if self._failure is not None:
            raise self._failure
        if self._note is None:
            raise RuntimeError("the source was asked and neither answered nor failed")
        return self._note

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile as it comes, or came before."""
        return self._read(wanted, self._open().tiles)

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle as it comes, or came before."""
        return self._read(wanted, self._open().entry_bundles)

    def _read(
        self, wanted: Iterable[P], fetch: Callable[[Iterable[P]], Iterator[tuple[P, bytes]]]
    ) -> Iterator[tuple[P, bytes]]:
        self._lacking = {}
        here: list[P] = []

        def lacking() -> Iterator[P]:
            for place in wanted:
                if place in self._came:
                    here.append(place)
                else:
                    self._lacking[place] = None
                    yield place

        try:
            with ending(fetch(lacking())) as brought:
                for place, data in brought:
                    del self._lacking[place]
                    yield place, data
        except RemoteError:
            yield from ((place, self._came[place]) for place in here)
            raise
        yield from ((place, self._came[place]) for place in here)

    def _open(self) -> RekorV2Log | FileSource:
        if not isinstance(self._source, RekorV2Log | DirectorySource | TarSource):
            raise self._failure or ValueError("a source without a URL was read")
        return self._source


class Answers:
    """The checkpoints of all backends, asked for at once; each has so many seconds for a run."""

    def __init__(self, session: Session, backends: Sequence[Backend], seconds: float) -> None:
        self._stopped = threading.Event()
        self._stack = contextlib.ExitStack()
        self._executor = ThreadPoolExecutor(max(len(backends), 1), thread_name_prefix="ask")
        self._pending: dict[Future[None], tuple[Backend, Answered]] = {}
        for backend in backends:
            http = self._stack.enter_context(session.http(run_seconds=seconds))
            try:
                answered = Answered(backend, http, open_source(http, backend), None)
            except ApplianceError as error:
                answered = Answered(backend, http, None, error)
            asked = self._executor.submit(answered.ask, self._stopped)
            self._pending[asked] = (backend, answered)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for waiting in self._pending.values():
            waiting[1].stop()
        self._executor.shutdown(cancel_futures=True)
        self._stack.close()

    def soon(self) -> Iterator[tuple[Backend, Answered]]:
        """Yield what is answered within LOCKED_SECONDS, in the order of the configuration."""
        done, _ = wait(self._pending, LOCKED_SECONDS)
        for asked in [one for one in self._pending if one in done]:
            yield self._pending.pop(asked)

    def again(self, backend: Backend, source: Answered) -> None:
        """Yield this one again, once it has brought what it was too slow for."""
        self._pending[self._executor.submit(source.go_on)] = (backend, source)

    def later(self) -> Iterator[tuple[Backend, Answered]]:
        """Yield the rest as it comes; a source that never answers has an error by its budget."""
        while self._pending:
            done, _ = wait(self._pending, None, FIRST_COMPLETED)
            for asked in [one for one in self._pending if one in done]:
                yield self._pending.pop(asked)
