"""The settings that the queue and its budgets act on (SPEC.md sections 10 and 11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from appliance.errors import ConfigError
from appliance.policy.budget import Limits
from appliance.store.database import Store
from appliance.store.home.settings import read_settings
from appliance.store.mirror.logs import Backend, all_backends
from appliance.value import frozen

# The schema's own defaults, durations in seconds; a test compares them. Importing the whole
# schema would cost `queue add` a tenth of its time.
DEFAULTS: Final[Mapping[str, Any]] = {
    "rekor.enabled": True,
    "rekor.serverUrl": None,
    "rekor.tier": "graph-only",
    "rekor.budget.hourlyLimit": 100,
    "rekor.budget.burstLimit": 200,
    "rekor.budget.burstWindow": 600,
    "rekor.budget.edgeBundleDailyLimit": 50,
    "rekor.edgeBundles.enabled": True,
    "rekor.edgeBundles.triggers": [
        {"cvssThreshold": 9.0},
        {"policyGate": "require_proof"},
        {"manualEscalation": True},
    ],
    "rekor.retry.maxAttempts": 3,
    "rekor.retry.initialDelay": 5,
    "rekor.retry.maxDelay": 300,
    "rekor.retry.backoffMultiplier": 2.0,
    "rekor.offline.queueEnabled": True,
    "rekor.offline.maxQueueSize": 10_000,
    "rekor.offline.drainOnConnect": True,
    "rekor.aggregate.enabled": False,
    "rekor.aggregate.minItems": 20,
    "rekor.aggregate.log": None,
}


@frozen
class Retry:
    """How what failed is tried again."""

    max_attempts: int  # of an item, in one drain
    initial_seconds: float
    max_seconds: float
    multiplier: float

    def pause_seconds(self, failures: int, chance: float) -> float:
        """Return the pause after so many failures in a row: full jitter, `chance` in [0, 1)."""
        ceiling: float = self.initial_seconds
        for _ in range(failures - 1):
            ceiling = min(ceiling * self.multiplier, self.max_seconds)
        return min(ceiling, self.max_seconds) * chance


@frozen
class Triggers:
    """What makes a submission worth its edge bundle."""

    cvss_threshold: float | None  # and reachable; None: never
    policy_gate: str | None
    escalation: bool


@frozen
class QueueSettings:
    """The effective settings of the queue."""

    enabled: bool  # whether drain sends anything
    server_url: str | None  # baseUrl of a backend
    edges: bool  # whether edge bundles are submitted at all
    triggers: Triggers
    limits: Limits
    retry: Retry
    queue_enabled: bool
    max_queue_size: int
    drain_on_connect: bool
    aggregates: bool  # whether drain puts what has no slot under one root
    min_aggregate: int  # items
    aggregate_log: str | None  # a log of this home; None: its only one


def read_queue_settings(store: Store) -> QueueSettings:
    """Read the effective settings of a store."""
    values = {**DEFAULTS, **read_settings(store)}
    triggers: dict[str, Any] = {}
    for one in values["rekor.edgeBundles.triggers"]:
        triggers.update(one)
    return QueueSettings(
        enabled=values["rekor.enabled"],
        server_url=values["rekor.serverUrl"],
        edges=values["rekor.tier"] == "with-edges" and values["rekor.edgeBundles.enabled"],
        triggers=Triggers(
            triggers.get("cvssThreshold"),
            triggers.get("policyGate"),
            triggers.get("manualEscalation") is True,
        ),
        limits=Limits(
            hourly=values["rekor.budget.hourlyLimit"],
            burst_hourly=values["rekor.budget.burstLimit"],
            burst_seconds=max(1, round(_seconds(values["rekor.budget.burstWindow"]))),
            daily_edge=values["rekor.budget.edgeBundleDailyLimit"],
        ),
        retry=Retry(
            max_attempts=values["rekor.retry.maxAttempts"],
            initial_seconds=_seconds(values["rekor.retry.initialDelay"]),
            max_seconds=_seconds(values["rekor.retry.maxDelay"]),
            multiplier=values["rekor.retry.backoffMultiplier"],
        ),
        queue_enabled=values["rekor.offline.queueEnabled"],
        max_queue_size=values["rekor.offline.maxQueueSize"],
        drain_on_connect=values["rekor.offline.drainOnConnect"],
        aggregates=values["rekor.aggregate.enabled"],
        min_aggregate=values["rekor.aggregate.minItems"],
        aggregate_log=values["rekor.aggregate.log"],
    )


def find_server(store: Store, settings: QueueSettings) -> Backend | None:
    """Return the backend that submissions go to; None if none is configured.

    Raises ConfigError (unknown-server) if rekor.serverUrl is not the base URL of a backend:
    without its pinned key nothing the server answers could be verified.
    """
    if settings.server_url is None:
        return None
    return require_server(store, settings.server_url)


def require_server(store: Store, url: str, key: str = "rekor.serverUrl") -> Backend:
    """Return the backend whose base URL this is; raises as find_server does."""
    backends = [one for one in all_backends(store) if one.base_url is not None]
    for backend in backends:
        if (backend.base_url or "").rstrip("/") == url.rstrip("/"):
            return backend
    known = ", ".join(one.base_url or "" for one in backends) or "none has one"
    raise ConfigError(
        f"{key}: expected the base URL of a backend ({known}), got {url}",
        reason="unknown-server",
        next_step="add the log as a backend: its pinned key verifies what the server answers",
    )


def _seconds(value: Any) -> float:
    if not isinstance(value, str):
        return float(value)
    from appliance.config.durations import parse_duration

    return float(parse_duration(value))
