"""One connection of the HTTP server: what is changed in waitress's.

No thread waits for a client to read: who leaves too much unread is asked nothing more, and goes
on when it has read (`hold`). Waitress waits, in whichever thread answers.

Requests and answers are ours instead of WSGI's, and an answer may be still to come: then the
connection waits for it, and no thread. Errors have Rekor's form, a request has a time at which
it began, the end of a request is said in one way only, and a body that is too large is read to
its end, because a client that is still sending sees no answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from appliance.serve.answers import Answer, ErrorCode, Later, error_answer
from appliance.serve.requests import request_of
from appliance.value import frozen

MAX_UNREAD_BYTES: Final = 1024 * 1024  # of answers, until the next request is answered
MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024  # of a body that is too large
_STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_GRPC_CODES: Final = {500: 13, 501: 12}  # all else is the client's fault


@frozen
class Refused:
    """A request that was answered before it reached the application."""

    peer: str
    method: str  # "" if it cannot be read
    path: str
    status: int
    size: int  # bytes of the body of the answer


def _raising(error: Exception) -> Callable[[], Answer]:
    def made() -> Answer:
        raise error

    return made


def channel_class() -> type[Any]:
    """Make the class of connections; a function, because waitress is imported late."""
    from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
    from waitress.parser import HTTPRequestParser, ParsingError  # type: ignore[import-untyped]
    from waitress.task import ErrorTask, Task  # type: ignore[import-untyped]
    from waitress.utilities import RequestEntityTooLarge  # type: ignore[import-untyped]

    class Parser(HTTPRequestParser):  # type: ignore[misc] # waitress has no types
        """Reads a body that is too large to its end, and keeps none of it."""

        content_length: int
        discard = 0  # bytes of body still to come

        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            # Of two ways to say where a request ends, a proxy before us may believe the other.
            if self.chunked and "CONTENT_LENGTH" in self.headers:
                raise ParsingError("Content-Length beside Transfer-Encoding")
            if "TRANSFER_ENCODING" in self.headers:
                raise ParsingError("Transfer-Encoding in HTTP/1.0")
            # RFC 9112, 3.2: one host, and that of the request line goes before the header's.
            if "," in self.headers.get("HOST", ""):
                raise ParsingError("Host more than once")
            if self.proxy_netloc:
                self.headers["HOST"] = self.proxy_netloc.rpartition("@")[2]
            if self.adj.max_request_body_size <= self.content_length <= MAX_DISCARDED_BYTES:
                self.discard, self.content_length = self.content_length, 0

        def received(self, data: bytes) -> int:
            if not self.discard:
                return int(super().received(data))
            taken = min(self.discard, len(data))
            self.discard -= taken
            if not self.discard:
                self.error = RequestEntityTooLarge("too large")
                self.completed = True
            return taken

    class JsonErrorTask(ErrorTask):  # type: ignore[misc] # waitress has no types
        def execute(self) -> None:
            error = self.request.error
            code = _GRPC_CODES.get(error.code, 3)
            message = "http: request body too large" if error.code == 413 else error.body
            # Rekor answers 400 to what is too large, and its clients know no other.
            status = 400 if error.code == 413 else error.code
            answer = error_answer(ErrorCode(status, code), message)
            self.status = f"{status} {error.reason if status == error.code else 'Bad Request'}"
            self.response_headers.append(("Content-Type", answer.content_type))
            self.set_close_on_finish()
            self.content_length = len(answer.body)
            self.write(answer.body)
            if status != 500:  # a bug was told of where it happened
                peer = str(self.channel.addr[0])
                method = str(getattr(self.request, "command", ""))
                path = str(getattr(self.request, "path", ""))
                self.channel.server.on_refused(
                    Refused(peer, method, path, status, len(answer.body))
                )

    class AnswerTask(Task):  # type: ignore[misc] # waitress has no types
        complete = True  # an answer is whole when its head is written

        def __init__(self, channel: Any, request: Any) -> None:
            super().__init__(channel, request)
            # Taken away before anybody can begin on the next request of this connection.
            self.made, channel.made = channel.made, None

        def execute(self) -> None:
            answer: Answer = self.made()
            self.status = _STATUS_LINES[answer.status]
            self.content_length = len(answer.body)
            self.response_headers.append(("Content-Type", answer.content_type))
            self.response_headers.extend(answer.headers)
            head = self.build_response_header()
            self.wrote_header = True
            sends_body = self.has_body and self.request.command != "HEAD"
            self.channel.write_soon(head + answer.body if sends_body else head)

    class Channel(HTTPChannel):  # type: ignore[misc] # waitress has no types
        parser_class = Parser
        task_class = AnswerTask
        error_task_class = JsonErrorTask
        request_began_at = 0.0  # Unix seconds, as waitress counts
        awaited: Later | None = None  # the answer to the first of the requests, if it is to come
        made: Callable[[], Answer] | None = None  # it, or raises what went wrong in making it
        is_held = False  # its next request waits until the answers before are read

        def hold(self) -> bool:
            """Whether the next request has to wait; `handle_write` goes on with it."""
            with self.outbuf_lock:
                self.is_held = self.total_outbufs_len > MAX_UNREAD_BYTES
                return self.is_held

        def handle_write(self) -> None:
            super().handle_write()
            if self.is_held and self.connected and not self.hold():
                self.server.add_task(self)

        def _flush_outbufs_below_high_watermark(self) -> None:
            """Wait for nobody: what is unread is bounded before a request is answered."""

        def service(self) -> None:
            """Answer the first request; return before that is done if its answer is to come."""
            request = self.requests[0]
            if not request.error:
                later, self.awaited = self.awaited, None
                try:
                    outcome = later or self.server.answer(request_of(request, self.addr[0]))
                    if later is None and isinstance(outcome, Later):
                        self.awaited = outcome
                        self.server.wait_for(self, outcome)
                        return
                    answer = outcome.take() if isinstance(outcome, Later) else outcome
                    self.made = lambda: answer
                except Exception as error:  # noqa: BLE001 waitress logs it and answers 500
                    self.made = _raising(error)
            super().service()

        def received(self, data: bytes) -> bool:
            before = self.request
            received = bool(super().received(data))
            if self.request is not before:
                self.request_began_at = time.time()
            return received

    return Channel
