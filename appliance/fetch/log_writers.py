"""Writing to Rekor logs over HTTP: one LogWriter for each version of the API (docs/rekor.md)."""

from __future__ import annotations

from typing import Final

from appliance.errors import MalformedError, RemoteError
from appliance.fetch.http import HttpClient, url_prefix
from appliance.fetch.response import Response, status_error
from appliance.fetch.submit import SUBMIT_SECONDS, Duplicate, refusal, refuse_foreign_page, submit
from appliance.rekor.answer_v1 import parse_entry_id, parse_v1_answer
from appliance.rekor.log_writer import Written, WrittenBefore
from appliance.rekor.transparency_log_entry import MAX_ANSWER_BYTES, parse_log_entry

V1_ENTRIES: Final = "api/v1/log/entries"
_LATER: Final = (408, 425, 429, 499)  # 4xx that say nothing against the request


def _is_v1_refusal(status: int, answer: dict[str, object]) -> bool:
    """Whether a 4xx is the Error of Rekor v1's OpenAPI document, or its validator's."""
    code, message = answer.get("code"), answer.get("message")
    known = type(code) is int and (code == status or 600 <= code < 1000)
    return known and set(answer) == {"code", "message"} and isinstance(message, str)


class RekorV2Writer:
    """The LogWriter of a Rekor v2 log, ours or theirs."""

    def __init__(self, http: HttpClient, base_url: str) -> None:
        self._http = http
        self._url = url_prefix(base_url)

    @property
    def description(self) -> str:
        """The base URL."""
        return self._url

    def write(self, request: bytes) -> Written | WrittenBefore:
        """Post a request, once; raises as LogWriter says."""
        answer = submit(self._http, self._url, request)
        if isinstance(answer, Duplicate):
            return WrittenBefore(answer.index)
        return Written(parse_log_entry(answer.entry))


class RekorV1Writer:
    """The LogWriter of a Rekor v1 log. What it has already it hands out with its proof."""

    def __init__(self, http: HttpClient, base_url: str) -> None:
        self._http = http
        self._url = url_prefix(base_url)

    @property
    def description(self) -> str:
        """The base URL."""
        return self._url

    def write(self, request: bytes) -> Written:
        """Post a proposed entry, once; raises as LogWriter says."""
        response = self._http.post(
            f"{self._url}{V1_ENTRIES}",
            request,
            MAX_ANSWER_BYTES,
            content_type="application/json",
            seconds=max(SUBMIT_SECONDS, self._http.settings.request_seconds),
        )
        refuse_foreign_page(response)
        if response.status in (200, 201):
            return Written(parse_v1_answer(response.body))
        if response.status == 409:
            return self._written_before(response)
        if 400 <= response.status < 500 and response.status not in _LATER:
            raise refusal(response, _is_v1_refusal)
        raise status_error(response)

    def _written_before(self, response: Response) -> Written:
        """Fetch the entry that is there; the Location names it, or else the message does."""
        place = response.facts.lower_headers.get("location")
        text = place if place is not None else response.body.decode("utf-8", "replace")
        id_ = parse_entry_id(text.rstrip('"}\n '))
        try:
            found = self._http.get(f"{self._url}{V1_ENTRIES}/{id_}", MAX_ANSWER_BYTES)
        except RemoteError as error:
            if error.reason == "not-found":
                raise MalformedError(
                    f"{self._url}: the log says it has entry {id_}, and then that it has not",
                    reason="duplicate-without-index",
                ) from error
            raise
        return Written(parse_v1_answer(found.body), duplicate=True)
