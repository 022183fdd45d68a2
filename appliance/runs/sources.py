"""From a configured backend to the LogSource that reads it."""

from __future__ import annotations

from appliance.errors import ConfigError
from appliance.fetch.http import HttpClient
from appliance.fetch.log_writers import RekorV1Writer, RekorV2Writer
from appliance.fetch.rekor_v2 import RekorV2Log
from appliance.jobs.queue.submit import Server
from appliance.store.mirror.logs import REKOR_V1, Backend


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


def open_server(http: HttpClient, backend: Backend) -> Server:
    """Return where entries of a backend's log are written; raises ConfigError without a URL."""

    if backend.base_url is None:
        raise ConfigError(
            f"backend {backend.name} has no base URL to write to",
            reason="no-url",
            next_step=f"give it one: attestor backend add {backend.name} --url URL ...",
        )
    if backend.log.api_version == REKOR_V1:
        return Server(backend.log, RekorV1Writer(http, backend.base_url), None)
    source = RekorV2Log(http, backend.base_url, backend.read_url)
    return Server(backend.log, RekorV2Writer(http, backend.base_url), source)
