"""What settings demand of each other, checked over the whole effective configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from appliance.config.configuration import Backend, Configuration
from appliance.config.schema import BACKENDS, HOSTED
from appliance.errors import ConfigError
from appliance.value import field, frozen

_ORDERED: Final = (  # the first may not be longer than the second
    (
        "divergenceDetection.degradedCheckpointAgeThreshold",
        "divergenceDetection.unhealthyCheckpointAgeThreshold",
    ),
    ("verify.maxTrustRootAge.warn", "verify.maxTrustRootAge.fail"),
    ("rekor.retry.initialDelay", "rekor.retry.maxDelay"),
)
_SERVERS: Final = ("rekor.serverUrl", "publish.rekorUrl")
_PROXIES: Final = "privateLog.trustedProxies"
_CERTIFICATE_HEADER: Final = "privateLog.clientCertificateHeader"
_MIRRORS: Final = "divergenceDetection.mirrorOrigins"


@frozen
class Places:
    """Where settings stand, for messages: in a file, or in the store."""

    source: str = "the store"
    lines: dict[str, int] = field(
        default_factory=dict[str, int]
    )  # by dotted name; a backend's by [id]

    def of(self, *names: str) -> str:
        """Return file:line of the last of these settings that the file names, else the source."""
        found = [self.lines[name] for name in names if name in self.lines]
        return f"{self.source}:{max(found)}" if found else self.source


class Rule(Protocol):
    """Raises ConfigError for what is wrong, yields warnings for what is odd."""

    def __call__(self, configuration: Configuration, places: Places) -> Iterator[str]:
        """Check the whole configuration."""


def verify_rules(configuration: Configuration, places: Places) -> tuple[str, ...]:
    """Check everything that no single setting can say; returns warnings.

    Raises ConfigError, with file and line where the file is to blame.
    """
    rules: tuple[Rule, ...] = (_order, _origins, _mirrors, _reachable, _servers, _served)
    return tuple(warning for rule in rules for warning in rule(configuration, places))


def _order(configuration: Configuration, places: Places) -> Iterator[str]:
    for lower, upper in _ORDERED:
        short, long = configuration.value(lower), configuration.value(upper)
        if short is None or long is None:
            continue
        if configuration.exact_seconds(lower) > configuration.exact_seconds(upper):
            raise _error(
                places.of(lower, upper),
                f"{lower} is {short}, longer than {upper}, {long}",
                "threshold-order",
                "set both in one file, the first no longer than the second",
            )
    yield from ()


def _origins(configuration: Configuration, places: Places) -> Iterator[str]:
    """Two backends of one log are a primary and its mirrors, never two primaries."""
    primaries: dict[str, Backend] = {}
    for backend in configuration.backends:
        if backend.mirror_of is not None:
            continue
        other = primaries.setdefault(backend.origin, backend)
        if other is not backend:
            raise _error(
                places.of(_item(other), _item(backend)),
                f"backends {other.id} and {backend.id} have the same origin {backend.origin!r}",
                "duplicate-origin",
                f"if one is a mirror, give it mirrorOf: {other.id}",
            )
    yield from ()


def _mirrors(configuration: Configuration, places: Places) -> Iterator[str]:
    by_id = {backend.id: backend for backend in configuration.backends}
    for backend in by_id.values():
        if backend.mirror_of is None:
            continue
        primary = by_id.get(backend.mirror_of)
        if primary is None or primary.mirror_of is not None:
            known = ", ".join(one.id for one in by_id.values() if one.mirror_of is None) or "none"
            raise _error(
                places.of(_item(backend)),
                f"mirrorOf of backend {backend.id}: expected a backend that is no mirror itself"
                f" ({known}), got {backend.mirror_of}",
                "mirror-of",
            )
    known_origins = {backend.origin for backend in by_id.values()}
    for origin in configuration.mirror_origins:
        if origin not in known_origins:
            yield (
                f"{places.of(_MIRRORS)}: {_MIRRORS} names {origin!r}, which no backend has:"
                " without its key it is not compared with anything"
            )


def _reachable(configuration: Configuration, places: Places) -> Iterator[str]:
    if configuration.role == "isolated":
        return
    for backend in configuration.backends:
        if backend.enabled and backend.base_url is None and backend.read_url is None:
            yield (
                f"{places.of(_item(backend))}: backend {backend.id} has neither baseUrl nor"
                " readUrl, so sync cannot reach it"
            )


def _servers(configuration: Configuration, places: Places) -> Iterator[str]:
    urls = [backend.base_url for backend in configuration.backends if backend.base_url is not None]
    for name in _SERVERS:
        url = configuration.optional_text(name)
        if url is not None and url not in urls:
            raise _error(
                places.of(name),
                f"{name}: expected the baseUrl of a configured backend"
                f" ({', '.join(urls) or 'none has one'}), got {url}",
                "unknown-server",
                "add the log as a backend: its pinned key verifies what the server answers",
            )
    yield from ()


def _served(configuration: Configuration, places: Places) -> Iterator[str]:
    """Each hosted log has a place of its own, and what its rule rests on is there."""
    taken: dict[tuple[str | None, str], str] = {}
    header = configuration.optional_text(_CERTIFICATE_HEADER)
    if header is not None and not configuration.texts(_PROXIES):
        raise _error(
            places.of(_CERTIFICATE_HEADER),
            f"{_CERTIFICATE_HEADER} without {_PROXIES}: anybody could send that header",
            "untrusted-header",
            f"name the address of the proxy in {_PROXIES}",
        )
    for one in configuration.hosted:
        place = places.of(f"{HOSTED}[{one.log}]")
        other = taken.setdefault((one.host, one.path), one.log)
        if other != one.log:
            raise _error(
                place,
                f"{HOSTED}: {other} and {one.log} are asked for at the same place",
                "same-place",
                "give one of them another host or path",
            )
        if one.client_certificates and header is None:
            raise _error(
                place,
                f"{HOSTED}: {one.log} has clientCertificates, and no proxy says them",
                "no-certificate-header",
                f"set {_CERTIFICATE_HEADER}, and {_PROXIES}",
            )
    yield from ()


def _item(backend: Backend) -> str:
    return f"{BACKENDS}[{backend.id}]"


def _error(place: str, message: str, reason: str, next_step: str = "") -> ConfigError:
    return ConfigError(f"{place}: {message}", reason=reason, next_step=next_step)
