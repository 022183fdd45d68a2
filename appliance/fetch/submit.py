"""Posting to a Rekor v2 log: exact bytes out, one of three answers back (docs/rekor.md).

The same bytes may be sent again after any RemoteError: a log that has them says so. What
it answered is not believed here; the queue verifies it.
"""

from __future__ import annotations

from collections.abc import Callable
from re import fullmatch
from typing import Final

from appliance.errors import MalformedError, RefusedError, RemoteError, VerificationError
from appliance.fetch.http import HttpClient, url_prefix
from appliance.fetch.response import SET_BEARER, Response, ResponseFacts, refuse_page, status_error
from appliance.rekor.log_writer import FOREIGN_ANSWER
from appliance.rekor.transparency_log_entry import MAX_ANSWER_BYTES
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

WRITE_PATH: Final = "api/v2/log/entries"
SUBMIT_SECONDS: Final = 60.0  # a log answers once a checkpoint covers the entry: 11 s and more
MAX_ERROR_JSON_BYTES: Final = 64 * 1024
_GRPC_OF_400: Final = (3, 9, 11)  # invalid argument, failed precondition, out of range
_DUPLICATE: Final = "an equivalent entry already exists in the transparency log with index "


@frozen
class Logged:
    """The log took the entry and says where it is."""

    entry: bytes  # a TransparencyLogEntry, JSON, not parsed
    facts: ResponseFacts


@frozen
class Duplicate:
    """The log had the entry already. There is no proof: build one from its tiles."""

    index: int  # entry index
    facts: ResponseFacts


def submit(http: HttpClient, base_url: str, request: bytes) -> Logged | Duplicate:
    """Post one request, once, and return what the log made of it.

    Raises RefusedError if the log will never take it; its reason is `invalid-request`,
    `frozen`, `forbidden` or `no-such-endpoint`, and only the first is about this request.
    Raises RemoteError, with `retry_after` if the log gave one, if it may take it later or
    if nobody knows whether it did: send the same bytes again. Raises LimitError or
    MalformedError for an answer that cannot be one.
    """
    response = http.post(
        f"{url_prefix(base_url)}{WRITE_PATH}",
        request,
        MAX_ANSWER_BYTES,
        content_type="application/json",
        seconds=max(SUBMIT_SECONDS, http.settings.request_seconds),
    )
    refuse_foreign_page(response)
    if response.status in (200, 201):  # the OpenAPI document says 200, the server 201
        return Logged(response.body, response.facts)
    if response.status == 409:
        return Duplicate(_duplicate_index(response), response.facts)
    if 400 <= response.status < 500 and response.status not in (408, 425, 429, 499):
        raise refusal(response, _is_v2_refusal)
    raise status_error(response)


def _duplicate_index(response: Response) -> int:
    """Return where the log has the entry: in a header since server v2.1.0, else in words."""
    text = response.facts.lower_headers.get("x-log-index")
    if text is None:
        text = _message(response).removeprefix(_DUPLICATE)
    if not fullmatch("0|[1-9][0-9]{0,17}", text):
        raise MalformedError(
            f"{response.facts.url}: the log has this entry (409), expected its index, "
            f"got {text[:200]!r}",
            reason="duplicate-without-index",
            next_step="mirror the log's entries and find it there by its leaf hash",
        )
    return int(text)


def refuse_foreign_page(response: Response) -> None:
    """Raise RemoteError (foreign-answer) if a page for people came as the log's good answer."""
    if 200 <= response.status < 300:
        try:
            refuse_page(response, "a log entry")
        except RemoteError as error:
            error.reason = FOREIGN_ANSWER
            raise


def refusal(
    response: Response, is_own: Callable[[int, dict[str, object]], bool]
) -> RefusedError | RemoteError:
    """Say what a 4xx means that will be the same the next time; reasons as submit has them.

    `is_own` says of a status and a JSON object whether the log itself refuses a request so.
    """
    status, url = response.status, response.facts.url
    if status == 405:
        return RefusedError(
            f"{url}: this log is frozen (405)",
            reason="frozen",
            next_step="submit to the log's newest shard",
        )
    found = status_error(response)
    if found.reason in ("proxy", "tls"):  # somebody before the log, who read nothing of it
        found.nothing_sent = True
        return found
    if status in (401, 403):
        return RefusedError(
            f"{url}: the server does not let us write ({status})",
            reason="forbidden",
            next_step=SET_BEARER
            if status == 401
            else "see whether this is the log's write URL, and who may use it",
        )
    if status in (404, 410):
        return RefusedError(
            f"{url}: there is nothing to write to ({status})",
            reason="no-such-endpoint",
            next_step="see whether this is the log's write URL; a read URL takes no entries",
        )
    if not is_own(status, _error_object(response)):
        return RemoteError(
            f"{url}: {status}, but not as this log refuses a request:"
            f" {response.facts.lower_headers.get('content-type', 'no content type')[:80]!r},"
            f" {_message(response)[:200]!r}",
            reason=FOREIGN_ANSWER,
            next_step="see what answers there: a proxy, a sign-in page, or another server",
            nothing_sent=True,
        )
    return RefusedError(
        f"{url}: the log refuses the request ({status}): {_message(response)[:500]!r}",
        reason="invalid-request",
        next_step="make a valid request: this request will never be taken",
    )


def _is_v2_refusal(status: int, answer: dict[str, object]) -> bool:
    """Whether a 4xx is a gRPC status as a gateway writes it (google.rpc.Status)."""
    return (
        status == 400
        and set(answer) == {"code", "message", "details"}
        and answer["code"] in _GRPC_OF_400
        and isinstance(answer["message"], str)
        and isinstance(answer["details"], list)
    )


def _error_object(response: Response) -> dict[str, object]:
    """Return the JSON object of an error; empty if it is none, or not called one."""
    kind = response.facts.lower_headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return {}
    try:
        answer = parse_json(response.body, "error answer", MAX_ERROR_JSON_BYTES)
    except VerificationError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _message(response: Response) -> str:
    """Return what an error says, whatever it is made of."""
    try:
        answer = parse_json(response.body, "error answer", MAX_ERROR_JSON_BYTES)
    except (VerificationError, RefusedError):
        return response.body.decode("utf-8", "replace")
    message = answer.get("message") if isinstance(answer, dict) else None
    return message if isinstance(message, str) else ""
