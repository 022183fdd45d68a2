"""The settings that commands act on: what the store holds, else the defaults, with types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from appliance.fetch.http import HttpSettings
    from appliance.store.database import Store


# The schema's own defaults of what is read here; a test compares them. Importing the whole
# schema would cost a verify a tenth of its time.
DEFAULTS: Final[Mapping[str, Any]] = {
    "rekorSync.enabled": True,
    "rekorSync.syncInterval": "5m",
    "rekorSync.initialDelay": "30s",
    "rekorSync.enableTileSync": True,
    "rekorSync.enableEntrySync": False,
    "rekorSync.maxTilesPerSync": 100,
    "http.connections": 16,
    "http.maxRequestsPerSecond": None,
    "http.contact": None,
    "http.proxy": None,
    "transfer.volumeSize": None,
    "transfer.overlap": 3,
    "transfer.threshold": 1,
    "verify.requireMirror": False,
    "verify.maxCheckpointAge": None,
    "verify.maxTrustRootAge.warn": "14d",
    "verify.maxTrustRootAge.fail": None,
}


class Settings:
    """Effective settings. Durations are seconds."""

    def __init__(self, stored: Mapping[str, Any] | None = None) -> None:
        self._stored = stored or {}

    @property
    def sync_enabled(self) -> bool:
        """Whether sync does anything."""
        return bool(self._value("rekorSync.enabled"))

    @property
    def sync_interval(self) -> float:
        """Between runs of sync --watch."""
        return self._seconds("rekorSync.syncInterval") or 0.0

    @property
    def initial_delay(self) -> float:
        """Before the first run of sync --watch."""
        return self._seconds("rekorSync.initialDelay") or 0.0

    @property
    def enable_tile_sync(self) -> bool:
        """Whether sync brings hash tiles."""
        return bool(self._value("rekorSync.enableTileSync"))

    @property
    def enable_entry_sync(self) -> bool:
        """Whether sync brings entry bundles."""
        return bool(self._value("rekorSync.enableEntrySync"))

    @property
    def max_tiles_per_sync(self) -> int:
        """New tiles of one log in one run."""
        return int(self._value("rekorSync.maxTilesPerSync"))

    @property
    def volume_bytes(self) -> int | None:
        """Of a file of an export, at most; None: as large as it gets."""
        n_bytes: int | None = self._value("transfer.volumeSize")
        return n_bytes

    @property
    def overlap(self) -> int:
        """How many exports back a delta starts."""
        return int(self._value("transfer.overlap"))

    @property
    def threshold(self) -> int:
        """Known exporters that must have signed."""
        return int(self._value("transfer.threshold"))

    @property
    def require_mirror(self) -> bool:
        """Whether verify needs our mirror to cover the entry."""
        return bool(self._value("verify.requireMirror"))

    @property
    def max_checkpoint_age(self) -> float | None:
        """How old our view of a log may be; None: any age."""
        return self._seconds("verify.maxCheckpointAge")

    @property
    def warn_trust_root_age(self) -> float | None:
        """Beyond this age of the trusted root, warn."""
        return self._seconds("verify.maxTrustRootAge.warn")

    @property
    def fail_trust_root_age(self) -> float | None:
        """Beyond this age of the trusted root, refuse."""
        return self._seconds("verify.maxTrustRootAge.fail")

    @property
    def http(self) -> HttpSettings:
        """What the HTTP client is told."""
        from appliance.fetch.http import HttpSettings

        return HttpSettings(
            connections=int(self._value("http.connections")),
            max_requests_per_second=self._value("http.maxRequestsPerSecond"),
            contact=self._value("http.contact") or "",
            proxy=self._value("http.proxy"),
        )

    def _value(self, key: str) -> Any:
        return self._stored.get(key, DEFAULTS[key])

    def _seconds(self, key: str) -> float | None:
        text = self._value(key)
        if text is None:
            return None
        from appliance.config.durations import parse_duration

        return float(parse_duration(text))


def read_settings_of(store: Store) -> Settings:
    """Read the effective settings of a store."""
    from appliance.store.home.settings import read_settings

    return Settings(read_settings(store))


def seconds_option(text: str | None, option: str, default: float | None) -> float:
    """Parse a duration given as an option; `default` (None: 0) if it was not given."""
    if text is None:
        return default or 0.0
    from appliance.config.durations import parse_duration
    from appliance.errors import ConfigError

    try:
        return float(parse_duration(text))
    except ConfigError as error:
        raise click.BadParameter(error.message, param_hint=option) from error
