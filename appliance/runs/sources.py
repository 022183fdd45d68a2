"""From a configured backend to the LogSource that reads it, and which log is published to."""

from __future__ import annotations

import os
from typing import Final

from appliance.errors import ConfigError
from appliance.fetch.http import HttpClient
from appliance.fetch.rekor_v2 import RekorV2Log
from appliance.runs.session import Session
from appliance.store.mirror.logs import Backend

URL_VARIABLE: Final = "ATTESTOR_REKOR_URL"
PUBLISH_URL: Final = "publish.rekorUrl"


def open_backend(http: HttpClient, backend: Backend) -> RekorV2Log:
    """Return the source of a backend; raises ConfigError if it has no URL or is a v1 log."""
    if backend.read_url is None and backend.base_url is None:
        raise ConfigError(
            "it has no URL: this site gets its checkpoints from transfer bundles",
            reason="no-url",
            next_step=f"'attestor import FILE', or: attestor backend disable {backend.name}",
        )
    if backend.log.api_version != 2:
        raise ConfigError(
            "it is a Rekor v1 log; this version mirrors v2 logs only", reason="api-version"
        )
    return RekorV2Log(http, backend.base_url or "", backend.read_url)


def publish_target(session: Session) -> tuple[str | None, str]:
    """Return the URL of the log to publish to, and what set it; the environment goes first."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        return given, URL_VARIABLE
    return session.configuration.optional_text(PUBLISH_URL), PUBLISH_URL
