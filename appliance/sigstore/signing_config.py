"""The Sigstore signing config: where entries are to be written, and when.

It carries no keys. What it adds to a trusted root is which version of Rekor answers at a URL.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import MalformedError
from appliance.rekor.protojson import Message, top_message
from appliance.sigstore.validity import Window, read_window
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAX_CONFIG_BYTES: Final = 2 * 1024 * 1024
MAX_SERVICES: Final = 256
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.signingconfig.v0.2+json"


@frozen
class LogService:
    """One place where entries are written."""

    url: str
    api_version: int  # of Rekor
    valid: Window


def parse_signing_config(raw: bytes) -> tuple[LogService, ...]:
    """Return the logs that a signing config names; raises MalformedError or LimitError.

    Another media type than version 0.2 is malformed, with reason `media-type`: version 0.1
    is still published beside it and says nothing of versions.
    """
    config = top_message(parse_json(raw, "signing config", MAX_CONFIG_BYTES), "signingConfig")
    media_type = config.text("mediaType")
    if media_type != MEDIA_TYPE:
        raise MalformedError(
            f"signing config: expected media type {MEDIA_TYPE}, got {media_type[:120]!r}",
            reason="media-type",
        )
    return tuple(map(_read_service, config.messages("rekorTlogUrls", MAX_SERVICES)))


def _read_service(service: Message) -> LogService:
    version = service.integer("majorApiVersion")
    if version < 1:
        raise MalformedError(f"{service.path}.majorApiVersion: expected 1 or more, got {version}")
    return LogService(
        service.required_text("url"), version, read_window(service, start_required=True)
    )
