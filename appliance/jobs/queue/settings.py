"""The settings that the queue and its budgets act on."""

from __future__ import annotations

from appliance.config.configuration import Configuration, EdgeTriggers
from appliance.errors import ConfigError
from appliance.jobs.home.configure import read_configuration
from appliance.policy.budget import Limits
from appliance.policy.retry import Backoff
from appliance.store.database import Store
from appliance.store.mirror.logs import Backend, all_backends
from appliance.value import frozen


@frozen
class Retry:
    """How what failed is tried again."""

    max_attempts: int  # of an item, in one drain
    backoff: Backoff  # full jitter


@frozen
class QueueSettings:
    """The effective settings of the queue."""

    enabled: bool  # whether drain sends anything
    server_url: str | None  # baseUrl of a backend
    edges: bool  # whether edge bundles are submitted at all
    triggers: EdgeTriggers
    limits: Limits
    retry: Retry
    queue_enabled: bool
    max_queue_size: int
    drain_on_connect: bool
    aggregates: bool  # whether drain puts what has no slot under one root
    min_aggregate: int  # items
    aggregate_log: str | None  # a log of this home; None: its only one


def queue_settings(configuration: Configuration) -> QueueSettings:
    """Return what a configuration says of the queue."""
    edges = configuration.text("rekor.tier") == "with-edges"
    triggers = configuration.edge_triggers
    return QueueSettings(
        enabled=configuration.flag("rekor.enabled"),
        server_url=configuration.optional_text("rekor.serverUrl"),
        edges=edges and configuration.flag("rekor.edgeBundles.enabled"),
        triggers=triggers,
        limits=Limits(
            hourly=configuration.count("rekor.budget.hourlyLimit"),
            burst_hourly=configuration.count("rekor.budget.burstLimit"),
            burst_seconds=max(1, round(configuration.exact_seconds("rekor.budget.burstWindow"))),
            daily_edge=configuration.count("rekor.budget.edgeBundleDailyLimit"),
        ),
        retry=Retry(
            max_attempts=configuration.count("rekor.retry.maxAttempts"),
            backoff=Backoff(
                first=configuration.exact_seconds("rekor.retry.initialDelay"),
                longest=configuration.exact_seconds("rekor.retry.maxDelay"),
                factor=configuration.number("rekor.retry.backoffMultiplier"),
                fixed=0.0,
            ),
        ),
        queue_enabled=configuration.flag("rekor.offline.queueEnabled"),
        max_queue_size=configuration.count("rekor.offline.maxQueueSize"),
        drain_on_connect=configuration.flag("rekor.offline.drainOnConnect"),
        aggregates=configuration.flag("rekor.aggregate.enabled"),
        min_aggregate=configuration.count("rekor.aggregate.minItems"),
        aggregate_log=configuration.optional_text("rekor.aggregate.log"),
    )


def read_queue_settings(store: Store) -> QueueSettings:
    """Return what the configuration of a store says of the queue."""
    return queue_settings(read_configuration(store))


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
