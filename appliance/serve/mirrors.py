"""The logs of a home, mirrored or its own, for the machines that reach no other (read only).

    GET /                                      which logs there are
    GET /<log>/checkpoint, /<log>/tile/…       tlog-tiles; below /<log>/api/v2/ as well
    GET /<log>/api/v2/log                      size, root and signed head
    GET /healthz, /metrics

<log> is a backend's id, the log's origin, or the hex SHA-256 of its origin. Each request looks
at the store anew, so what a sync brought is there for the next. A log in quarantine is not
given to anybody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from appliance.errors import ApplianceError
from appliance.serve.answers import NOT_FOUND, NOW, UNAVAILABLE, Answer, error_answer
from appliance.serve.log_info import answer_log_info
from appliance.serve.reads import answer_read, is_read_path
from appliance.serve.requests import Request
from appliance.serve.routes import Routes
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.logs import Backend, all_backends
from appliance.store.mirror.mirror import Mirror

HEALTH_PATH: Final = "/healthz"
METRICS_PATH: Final = "/metrics"
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
READ_PREFIX: Final = "api/v2/"
_LOG: Final = "api/v2/log"
_TRY_AGAIN: Final = "this home cannot be used now; try again"
Reading = Callable[[], AbstractContextManager[Store]]


class MirrorsService:
    """The endpoints of all logs of a home."""

    def __init__(self, reading: Reading, metrics: Callable[[], bytes]) -> None:
        self._reading = reading
        self._metrics = metrics
        self.routes = Routes()
        self.routes.add("GET", "/", lambda _: self._answer(_listed))
        self.routes.add("GET", HEALTH_PATH, lambda _: self._answer(_healthy))
        self.routes.add("GET", METRICS_PATH, self._measured)
        self.routes.add_reads("/", _is_below_a_log, self._read)

    def _read(self, request: Request) -> Answer:
        return self._answer(lambda store: _read(store, request.path))

    def _measured(self, _: Request) -> Answer:
        return self._answer(lambda _: Answer(200, self._metrics(), METRICS_TYPE, NOW))

    def _answer(self, answer: Callable[[Store], Answer]) -> Answer:
        try:
            with self._reading() as store:
                return answer(store)
        except ApplianceError:
            # What is wrong is the operator's to know.
            return error_answer(UNAVAILABLE, _TRY_AGAIN)


def _is_below_a_log(path: str) -> bool:
    """Whether a path may be one of a log's: whatever comes before its last parts names the log."""
    return path.endswith(("/checkpoint", f"/{_LOG}")) or "/tile/" in path


def _read(store: Store, path: str) -> Answer:
    for backend in all_backends(store):
        for name in _names(backend):
            if not path.startswith(f"{name}/"):
                continue
            rest = path.removeprefix(f"{name}/")
            read_path = rest.removeprefix(READ_PREFIX)
            if rest != _LOG and not is_read_path(read_path):
                continue
            mirror = Mirror(store, backend.log)
            held = quarantine_of(store, backend.log)
            if held is not None:
                return error_answer(
                    UNAVAILABLE,
                    f"{backend.log.origin} contradicted itself, and is believed up to"
                    f" {held.last_common_size} entries only: it is not served",
                    NOW,
                )
            return answer_log_info(mirror) if rest == _LOG else answer_read(mirror, read_path)
    return error_answer(NOT_FOUND, "Not Found")


def _names(backend: Backend) -> Iterator[str]:
    yield backend.name
    yield backend.log.origin
    yield sha256(backend.log.origin.encode()).hexdigest()


def _healthy(_: Store) -> Answer:
    return Answer(200, b'{"status":"SERVING"}\n', headers=NOW)


def _listed(store: Store) -> Answer:
    logs = []
    for backend in all_backends(store):
        published = Mirror(store, backend.log).history.mirror_checkpoint()
        logs.append(
            {
                "id": backend.name,
                "origin": backend.log.origin,
                "path": f"/{quote(backend.name)}/",
                "treeSize": published.head.tree_size if published else None,
                "rootHash": published.head.root_hash.hex() if published else None,
                "quarantined": quarantine_of(store, backend.log) is not None,
            }
        )
    return Answer(200, json.dumps({"logs": logs}).encode(), headers=NOW)
