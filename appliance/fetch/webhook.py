"""Alerts by HTTP: the payload as it is, an id against doubles, and an HMAC over the body."""

from __future__ import annotations

import hmac
from typing import Final

from appliance.fetch.http import HttpClient
from appliance.fetch.response import refuse_page, status_error

SIGNATURE_HEADER: Final = "X-Attestor-Signature"  # sha256=<64 hex digits>
EVENT_HEADER: Final = "X-Attestor-Event"
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
_MAX_ANSWER_BYTES: Final = 64 * 1024  # nobody reads it


def post_webhook(
    http: HttpClient,
    url: str,
    body: bytes,
    *,
    idempotency_id: str,
    event_type: str,
    secret: bytes | None,
    seconds: float,
) -> None:
    """POST one alert; any 2xx answer means that it was taken.

    With a secret, SIGNATURE_HEADER is the HMAC-SHA256 of exactly the body. Raises RemoteError
    with the server's Retry-After for any other answer, LimitError or MalformedError.
    """
    headers = {IDEMPOTENCY_HEADER: idempotency_id, EVENT_HEADER: event_type}
    if secret is not None:
        headers[SIGNATURE_HEADER] = f"sha256={hmac.new(secret, body, 'sha256').hexdigest()}"
    response = http.post(
        url,
        body,
        _MAX_ANSWER_BYTES,
        content_type="application/json",
        seconds=seconds,
        headers=headers,
    )
    if not 200 <= response.status < 300:
        raise status_error(response)
    if response.body.lstrip()[:9].lower() in (b"<!doctype", b"<html"):
        refuse_page(response, "a receiver of webhooks")  # a sign-in page took it from nobody
