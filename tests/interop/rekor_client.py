"""What it takes to put entries into any Rekor v2 log: one POST each, many at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from tests.interop.signed_artifact import SignedArtifact

# A log answers when a checkpoint covers the entry, so throughput is parallelism over the
# checkpoint interval.
PARALLEL_REQUESTS = 128
REQUEST_TIMEOUT_SECONDS = 60.0


def post(url: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Send one request to the log at `url`; return the HTTP status and the JSON answer."""
    status, _, answer = exchange(url, "POST", "/api/v2/log/entries", body)
    return status, answer


def exchange(
    url: str, method: str, path: str, body: bytes | None = None
) -> tuple[int, Message, Any]:
    """Ask the server at `url` anything; return HTTP status, headers and the JSON answer."""
    status, headers, answer = _exchange(url, method, path, body)
    return status, headers, json.loads(answer)


def read_file(url: str, path: str) -> bytes:
    """Get one file of a log from below its read prefix."""
    status, _, answer = _exchange(url, "GET", f"/{path}", None)
    assert status == 200, f"{path}: expected 200, got {status}"
    return answer


def _exchange(url: str, method: str, path: str, body: bytes | None) -> tuple[int, Message, bytes]:
    where = urlsplit(url)
    assert where.hostname is not None
    connection = HTTPConnection(where.hostname, where.port, timeout=REQUEST_TIMEOUT_SECONDS)
    try:
        connection.request(method, where.path + path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def log_all(url: str, artifacts: Sequence[SignedArtifact]) -> list[dict[str, Any]]:
    """Log artifacts in no particular order; return the log's answer to each."""

    def log_one(artifact: SignedArtifact) -> dict[str, Any]:
        status, logged = post(url, artifact.request())
        assert status == 201, f"expected 201, got {status}: {logged}"
        return logged

    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return list(pool.map(log_one, artifacts))
