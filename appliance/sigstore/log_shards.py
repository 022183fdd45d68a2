"""Which logs a trusted root names: origin, Rekor version, key and window of each.

A root says none of the first two outright. The log id does: a Rekor v2 log's is the hash of
its note key, a v1 log's that of the bare key. They are the same for ECDSA keys; then a
signing config says which, and without one it is v1.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import MalformedError
from appliance.sigstore.signing_config import LogService
from appliance.sigstore.trusted_root import LogKey
from appliance.sigstore.validity import Window
from appliance.tlog.note_keys import log_key, rekor_v1_key
from appliance.value import frozen


@frozen
class LogShard:
    """One key of one log that a trusted root names."""

    origin: str  # of a v1 log without the tree id
    api_version: int  # of Rekor: 1 or 2
    spki: bytes
    valid: Window
    base_url: str


def identify_shard(log: LogKey, services: Sequence[LogService]) -> LogShard:
    """Say which log this is.

    Raises MalformedError (log-id) if its log id is of no key it can have, RefusedError for a
    kind of key nothing here can use.
    """
    spki = log.key.spki
    by_version = {
        version: origin
        for version, make in ((1, rekor_v1_key), (2, log_key))
        for origin in log.origins
        if make(origin, spki).log_id == log.log_id
    }
    if not by_version:
        raise MalformedError(
            f"its log id {log.log_id.hex()} is not that of its key", reason="log-id"
        )
    configured = {
        service.api_version for service in services if _same_url(service.url, log.base_url)
    }
    version = max(by_version.keys() & configured, default=min(by_version))
    return LogShard(by_version[version], version, spki, log.valid, with_scheme(log.base_url))


def unnamed_services(
    services: Sequence[LogService], shards: Sequence[LogShard]
) -> tuple[LogService, ...]:
    """Return the services at which no log of the root is: several shards may share one URL."""
    return tuple(
        service
        for service in dict.fromkeys(services)
        if not any(_same_url(service.url, shard.base_url) for shard in shards)
    )


def with_scheme(base_url: str) -> str:
    """Return a base URL with its scheme, which a trusted root may leave out, and no slash."""
    return (base_url if "://" in base_url else f"https://{base_url}").rstrip("/")


def _same_url(one: str, other: str) -> bool:
    return with_scheme(one).lower() == with_scheme(other).lower()
