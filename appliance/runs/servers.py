"""From a configured backend to the server that entries are written to."""

from __future__ import annotations

from appliance.errors import ConfigError
from appliance.fetch.http import HttpClient
from appliance.fetch.log_writers import RekorV1Writer, RekorV2Writer
from appliance.fetch.rekor_v2 import RekorV2Log
from appliance.jobs.queue.submit import Server
from appliance.runs.sources import FILE_SCHEME
from appliance.store.mirror.logs import REKOR_V1, Backend


def open_server(http: HttpClient, backend: Backend) -> Server:
    """Return where entries of a backend's log are written; raises ConfigError without a URL."""
    if backend.base_url is None or backend.base_url.startswith(FILE_SCHEME):
        raise ConfigError(
            f"backend {backend.name} has no base URL to write to",
            reason="no-url",
            next_step=f"give it one: attestor backend add {backend.name} --url URL ...",
        )
    if backend.log.api_version == REKOR_V1:
        return Server(backend.log, RekorV1Writer(http, backend.base_url), None)
    source = RekorV2Log(http, backend.base_url, backend.read_url)
    return Server(backend.log, RekorV2Writer(http, backend.base_url), source)
