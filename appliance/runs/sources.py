"""From a configured backend to the LogSource that reads it, and which log is published to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from appliance.errors import ConfigError, RemoteError
from appliance.fetch.http import HttpClient
from appliance.fetch.rekor_v1 import RekorV1Log
from appliance.fetch.rekor_v2 import IS_V1, RekorV2Log
from appliance.jobs.mirror.directory_source import DirectorySource
from appliance.jobs.mirror.tar_source import TarSource
from appliance.runs.session import Session
from appliance.store.mirror.logs import REKOR_V1, Backend, verifier_key
from appliance.store.mirror.tar_tree import SUFFIXES
from appliance.value import replaced

URL_VARIABLES: Final = ("ATTESTOR_REKOR_URL", "AEVUM_REKOR_URL")  # the first that is set
PUBLISH_URL: Final = "publish.rekorUrl"
FILE_SCHEME: Final = "file://"  # of a directory or archive of a log's checkpoint and tiles
FileSource = DirectorySource | TarSource


def open_backend(http: HttpClient, backend: Backend) -> RekorV2Log | FileSource:
    """Return the source of tiles of a backend; raises ConfigError without a URL, and for v1."""
    source = open_source(http, backend)
    if isinstance(source, RekorV1Log):
        raise ConfigError(
            f"{backend.log.origin} is a Rekor v1 log, which serves no tiles",
            reason="api-version",
            next_step="its checkpoints are mirrored, and entries that were asked for",
        )
    return source


def open_source(http: HttpClient, backend: Backend) -> RekorV1Log | RekorV2Log | FileSource:
    """Return what a backend is read from; raises ConfigError if it has no URL."""
    if backend.read_url is None and backend.base_url is None:
        raise ConfigError(
            "it has no URL: this site gets its checkpoints from transfer bundles",
            reason="no-url",
            next_step=f"'attestor import FILE', or: attestor backend disable {backend.name}",
        )
    place = backend.read_url or backend.base_url or ""
    if place.startswith(FILE_SCHEME):
        path = Path(unquote(place.removeprefix(FILE_SCHEME)))
        return TarSource(path) if path.name.endswith(SUFFIXES) else DirectorySource(path)
    if backend.log.api_version == REKOR_V1:
        return RekorV1Log(http, backend.read_url or backend.base_url or "")
    return RekorV2Log(http, backend.base_url or "", backend.read_url)


def offered_checkpoint(http: HttpClient, backend: Backend) -> tuple[bytes, str, Backend]:
    """Return the note that a backend offers now, from where, and the backend as it turned out.

    One that was added by a bare host name may be of version 1, which its first answer says.
    Raises what open_source and the source raise.
    """
    source = open_source(http, backend)
    try:
        return source.checkpoint(), source.description, backend
    except RemoteError as error:
        if error.reason != IS_V1:
            raise
    instance = RekorV1Log(http, backend.read_url or backend.base_url or "")
    log = backend.log
    keys = tuple(
        replaced(verifier_key(REKOR_V1, log.origin, key.spki), max_size=key.max_size)
        for key in log.keys
    )
    log = replaced(log, api_version=REKOR_V1, keys=keys)
    return instance.checkpoint(), instance.description, replaced(backend, log=log)


def served_log(http: HttpClient, url: str) -> RekorV2Log:
    """Return the tiled log below a URL: a read prefix, or a server with one below it.

    Raises RemoteError if neither has a checkpoint.
    """
    prefix = RekorV2Log(http, "", url)
    try:
        prefix.checkpoint()
    except RemoteError as error:
        if error.reason not in ("not-found", "http-status", "not-what-was-asked"):
            raise
        return RekorV2Log(http, url)
    return prefix


def publish_target(session: Session) -> tuple[str | None, str]:
    """Return the URL of the log to publish to, and what set it; the environment goes first."""
    for name in URL_VARIABLES:
        given = os.environ.get(name)
        if given:
            return given, name
    return session.configuration.optional_text(PUBLISH_URL), PUBLISH_URL
