"""A private log over HTTP, as Rekor v2 clients expect one (docs/rekor.md).

    POST /api/v2/log/entries                  one hashedrekord request, or a bare digest
    GET  /api/v2/log                          size, root and signed head
    GET  /api/v2/checkpoint, /api/v2/tile/…   what a mirror reads; below / as well
    GET  /healthz

It judges no certificate and follows no URL: a log records. Handlers parse and verify; only
the sequencer's thread writes, and no thread waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Final

from appliance.errors import (
    ApplianceError,
    LockedError,
    MalformedError,
    MovedError,
    RefusedError,
    RemoteError,
    StoreError,
    VerificationError,
)
from appliance.jobs.private_log.sequence import FROZEN
from appliance.rekor.bare_digest import is_v1_shaped
from appliance.rekor.request import MAX_REQUEST_BYTES, parse_request, verify_request
from appliance.serve.answers import (
    EXISTS,
    FAILED,
    INVALID,
    NOW,
    UNAVAILABLE,
    Answer,
    Later,
    Outcome,
    error_answer,
)
from appliance.serve.bare_digests import signed_request, v1_answer
from appliance.serve.batch_answers import BatchAnswers
from appliance.serve.batches import PUSHBACK, Batches, Published
from appliance.serve.content_digest import check_content_digest
from appliance.serve.log_info import answer_log_info
from appliance.serve.reads import answer_read, is_read_path
from appliance.serve.requests import Request
from appliance.serve.routes import Routes
from appliance.serve.version_one import add_version_one
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.entries import MAX_ENTRY_BYTES
from appliance.tlog.publisher_key import PublisherKey

ENTRIES_PATH: Final = "/api/v2/log/entries"
HEALTH_PATH: Final = "/healthz"
LOG_PATH: Final = "/api/v2/log"
READ_PREFIX: Final = "/api/v2/"
ANSWER_SECONDS: Final = 30.0  # a client is told to try again after this
_INVALID_TYPE: Final = "invalid type, must be hashedrekord"
_INVALID_REQUEST: Final = "invalid hashedrekord request"
_TOO_LARGE: Final = "http: request body too large"
_TRY_AGAIN: Final = "the log cannot be used now; try again"
_MOVED: Final = "the log is on its way to another server; try again"
_PUSHBACK: Final = "reached max pushback; retry"
_FROZEN: Final = b"This log has been frozen, please switch to the latest log.\n"
_NOT_INTEGRATED: Final = "failed to integrate entry"


class PrivateLogService:
    """The endpoints of one private log; more of them are added to its routes."""

    def __init__(
        self,
        batches: Batches,
        reading: Callable[[], AbstractContextManager[Mirror]],
        digest_key: PublisherKey | None = None,
    ) -> None:
        self._batches = batches
        self._reading = reading
        self._digest_key = digest_key  # signs what comes without a signature; None: nothing does
        self.routes = Routes()
        self.routes.add("POST", ENTRIES_PATH, self._add)
        self.routes.add("GET", HEALTH_PATH, self._health)
        self.routes.add("GET", LOG_PATH, lambda _: self._read(answer_log_info))
        for prefix in (READ_PREFIX, "/"):
            self.routes.add_reads(prefix, is_read_path, self._read_path)
        add_version_one(self.routes)

    def _health(self, _: Request) -> Answer:
        if self._batches.failure is None:
            return Answer(200, b'{"status":"SERVING"}\n', headers=NOW)
        return Answer(503, b'{"status":"NOT_SERVING"}\n', headers=NOW)

    def _read_path(self, request: Request) -> Answer:
        return self._read(lambda mirror: answer_read(mirror, request.path))

    def _read(self, answer: Callable[[Mirror], Answer]) -> Answer:
        try:
            with self._reading() as mirror:
                return answer(mirror)
        except ApplianceError:
            return error_answer(UNAVAILABLE, _TRY_AGAIN)

    def _add(self, request: Request) -> Outcome:
        raw = request.read(MAX_REQUEST_BYTES + 1)
        if len(raw) > MAX_REQUEST_BYTES:
            return error_answer(INVALID, _TOO_LARGE)
        try:
            check_content_digest(request.headers("Content-Digest"), raw)
        except VerificationError as error:
            return error_answer(INVALID, error.message)
        try:
            parsed = parse_request(raw)
        except (MalformedError, RefusedError) as error:
            if is_v1_shaped(raw):
                return self._add_bare_digest(raw)
            worded = {"invalid-type": _INVALID_TYPE, "invalid-request": _INVALID_REQUEST}
            return error_answer(INVALID, worded.get(error.reason, error.message))
        try:
            verify_request(parsed)
        except ApplianceError:
            return error_answer(INVALID, _INVALID_REQUEST)
        body = parsed.canonical_body
        if len(body) > MAX_ENTRY_BYTES:
            return error_answer(FAILED, _NOT_INTEGRATED)
        return self._log(body, lambda batch, index: Answer(201, batch.json(index, body)))

    def _add_bare_digest(self, raw: bytes) -> Outcome:
        try:
            signed = signed_request(raw, self._digest_key)
        except ApplianceError as error:
            return error_answer(INVALID, error.message)
        body = signed.canonical_body
        return self._log(body, lambda batch, index: v1_answer(raw, batch.entry(index, body)))

    def _log(self, body: bytes, worded: Callable[[BatchAnswers, int], Answer]) -> Outcome:
        """Log a body; what is logged is answered as `worded` says."""
        try:
            coming = self._batches.add(body)
        except StoreError as error:
            return _not_logged(error)

        def answer(done: Future[Published]) -> Answer:
            try:
                published = done.result(0)
            except (ApplianceError, TimeoutError) as error:
                return _not_logged(error)
            index = published.placed.entry_index
            if not published.placed.duplicate:
                return worded(published.answers, index)
            return error_answer(
                EXISTS,
                f"an equivalent entry already exists in the transparency log with index {index}",
                (("X-Log-Index", str(index)),),
            )

        return Later(coming, answer, ANSWER_SECONDS)


def _not_logged(error: Exception) -> Answer:
    """Say why an entry is not logged, as far as it is a client's to know."""
    if isinstance(error, MovedError):
        return error_answer(UNAVAILABLE, _MOVED)  # it goes on: whoever waits loses nothing
    if isinstance(error, RefusedError) and error.reason == FROZEN:
        return Answer(405, _FROZEN, "text/plain; charset=utf-8")
    if isinstance(error, StoreError | LockedError | RemoteError):
        # What is wrong is the operator's to know.
        pushed_back = error.reason == PUSHBACK
        return error_answer(UNAVAILABLE, _PUSHBACK if pushed_back else _TRY_AGAIN)
    return error_answer(FAILED, _NOT_INTEGRATED)
