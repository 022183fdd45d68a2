"""Asking a witness for a cosignature (c2sp.org/tlog-witness): one POST, one answer."""

from __future__ import annotations

from typing import Final

from appliance.fetch.http import HttpClient, url_prefix
from appliance.tlog.witness_request import SIZE_TYPE, parse_size_answer
from appliance.value import frozen

ADD_PATH: Final = "add-checkpoint"
MAX_ANSWER_BYTES: Final = 64 * 1024


@frozen
class WitnessAnswer:
    """What a witness answered. Nothing is verified."""

    status: int
    body: bytes  # signature lines, if the status is 200
    size: int | None  # with 409: entries, what it says it cosigned last


def ask_witness(http: HttpClient, url: str, request: bytes, seconds: float) -> WitnessAnswer:
    """Post one request to a witness's submission prefix; raises RemoteError and as post does."""
    response = http.post(
        f"{url_prefix(url)}{ADD_PATH}",
        request,
        MAX_ANSWER_BYTES,
        content_type="text/plain; charset=utf-8",
        seconds=seconds,
    )
    kind = response.facts.lower_headers.get("content-type", "").partition(";")[0].strip()
    conflicts = response.status == 409 and kind == SIZE_TYPE
    size = parse_size_answer(response.body) if conflicts else None
    return WitnessAnswer(response.status, response.body, size)
