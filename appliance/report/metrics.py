"""Metrics as Prometheus text, in the classic format that textfile collectors read.

A custom collector: families come from metric_families.py, in its order, each with HELP and
TYPE whether it has samples or not. No sample carries a time of its own: one would make
node_exporter skip the whole file.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import TYPE_CHECKING, Final

from appliance.policy.alarms import Anomaly
from appliance.policy.budget import TIERS, TRIGGERS
from appliance.policy.health import Health, Problem, ProblemKind
from appliance.report.metric_families import FAMILIES, Family
from appliance.store.database import Store
from appliance.store.divergence.alerts import alerts
from appliance.store.divergence.outbox import undelivered
from appliance.store.home.counters import counters
from appliance.store.home.runs import backend_runs, command_runs
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.sync_times import last_import
from appliance.store.queue.queue import LOGGED, POSTPONED, REFUSED
from appliance.store.verify.trust import current_root
from appliance.store.witness.cosigned import cosigned_rows
from appliance.value import frozen
from appliance.version import __version__

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

HOME_HEALTHS: Final = (Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY)
SEVERITIES: Final = ("critical", "warning", "info")
ERROR_TYPES: Final = (
    *("network", "timeout", "http", "signature", "proof", "malformed", "storage", "locked"),
)

ANSWERED: Final = ("201", "401", "403", "404", "429", "503")  # whose first one is worth an alert
WITNESS_ANSWERED: Final = ("200", "400", "403", "404", "409", "422")  # c2sp.org/tlog-witness
OUTCOMES: Final = ("cosigned", "ahead", "refused", "unreachable", "bad-answer", "no-proof")

Labels = tuple[str, ...]
Samples = dict[Labels, float]  # by the values of the family's labels, in their order


@frozen
class LogFacts:
    """What is known of one backend's log."""

    backend: str
    log: Log
    tree_size: int | None  # None: nothing accepted yet
    age: int | None  # seconds; None: nothing accepted yet
    health: Health
    coverage: float | None  # 0 to 1; None: nothing accepted yet
    mirror_of: str | None  # name of the primary


@frozen
class HomeMetrics:
    """What is known of the home, by the one judgement of health."""

    health: Health
    problems: Sequence[Problem]  # its own and its backends'
    oldest_item_at: int | None  # Unix seconds, of what waits to be logged; None: nothing
    mirror_logs: Sequence[tuple[str, str]] = ()  # origins of each log and mirror log compared
    private_logs: Sequence[str] = ()  # names of the logs of this home's own
    witnesses: Sequence[tuple[str, str]] = ()  # of them: origin, and the witness's name


@frozen
class FindFacts:
    """The index, the watches and the ledger of what should be signed."""

    indexed: Mapping[str, tuple[int, int, int]]  # by origin: indexed, behind, opaque
    watches_behind: Mapping[tuple[str, str], int]  # by watch and origin
    findings: Sequence[tuple[str, str]]  # watches, and what can come of their matches
    expected_open: int
    expected_missing: int


@frozen
class QueueFacts:
    """What waits to be submitted, and how much of the budget is left."""

    depth: Mapping[str, int]  # by tier
    remaining: Mapping[str, int]  # by tenant
    utilization: Mapping[str, float]  # by tenant, 0 to 1


@frozen
class Facts:
    """What the metrics tell beside what is counted in the store."""

    logs: Sequence[LogFacts]
    home: HomeMetrics
    queue: QueueFacts
    find: FindFacts
    now: int  # Unix seconds


def metrics_text(store: Store, facts: Facts) -> bytes:
    """Return every metric, ready to be scraped or written to a file."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector(list(_metrics(store, facts))))
    return generate_latest(registry)


class _Collector:
    """What prometheus-client asks for the metrics."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self.metrics


def _metrics(store: Store, facts: Facts) -> Iterator[Metric]:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    gauges = _gauges(store, facts)
    stored: dict[str, dict[Labels, dict[str, float]]] = {}  # by name, labels, part
    for counted in counters(store):
        family, part = _family_of(counted.name)
        if family is not None:
            bound = counted.labels.get("le", "")
            labels = tuple(counted.labels.get(name, "") for name in family.labels)
            parts = stored.setdefault(family.name, {}).setdefault(labels, {})
            parts[f"{part}{bound}"] = counted.value
    for family in FAMILIES:
        names = list(family.labels)
        found = stored.get(family.name, {})
        if family.kind == "gauge":
            gauge = GaugeMetricFamily(family.name, family.help, labels=names)
            for labels, value in gauges.get(family.name, {}).items():
                gauge.add_metric(labels, value)
            yield gauge
        elif family.kind == "counter":
            counter = CounterMetricFamily(family.name, family.help, labels=names)
            # A counter that first appears with 1 has no increase that an alert could see.
            zero = {labels: {"": 0.0} for labels in _expected(family, facts)}
            for labels, parts in sorted({**zero, **found}.items()):
                counter.add_metric(labels, parts[""])
            yield counter
        else:
            histogram = HistogramMetricFamily(family.name, family.help, labels=names)
            expected = _expected(family, facts)
            empty = {labels: {"bucket+Inf": 0.0} for labels in expected}
            for labels, parts in sorted({**empty, **found}.items()):
                histogram.add_metric(labels, _buckets(parts), parts.get("sum", 0.0))
            yield histogram


def _family_of(name: str) -> tuple[Family | None, str]:
    """Return the family that a stored counter belongs to, and which part of it it is."""
    for family in FAMILIES:
        if family.kind == "counter" and name == family.name:
            return family, ""
        if family.kind == "histogram" and name.startswith(f"{family.name}_"):
            return family, name.removeprefix(f"{family.name}_")
    return None, ""


def _buckets(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    bounds = [part.removeprefix("bucket") for part in parts if part.startswith("bucket")]
    ascending = sorted(bounds, key=lambda le: math.inf if le == "+Inf" else float(le))
    return [(le, parts[f"bucket{le}"]) for le in ascending]


def _expected(family: Family, facts: Facts) -> Iterator[Labels]:
    """Yield the labels that a counter or a histogram will have once anything happens."""
    logs, home = facts.logs, facts.home
    mirrors = ((log.mirror_of, log.backend) for log in logs if log.mirror_of is not None)
    known: dict[tuple[str, ...], Iterable[Labels]] = {
        ("type", "severity"): product((kind.value for kind in Anomaly), SEVERITIES),
        ("tier", "status"): product(TIERS, (LOGGED, POSTPONED, REFUSED)),
        ("trigger",): ((trigger,) for trigger in TRIGGERS),
        ("primary", "mirror"): chain(mirrors, home.mirror_logs),
        ("watch", "finding"): facts.find.findings,
        ("log", "status"): product(home.private_logs, ANSWERED),
        ("status",): ((status,) for status in WITNESS_ANSWERED),
        ("origin", "witness", "outcome"): (
            (*witness, outcome) for witness, outcome in product(home.witnesses, OUTCOMES)
        ),
        ("tenant",): ((tenant,) for tenant in facts.queue.remaining),
        ("tier",): ((tier,) for tier in TIERS),
    }
    yield from known.get(family.labels, ())
    if family.labels == ("backend",):
        yield from ((log.backend,) for log in logs)
    elif family.labels == ("backend", "error_type"):
        yield from product((log.backend for log in logs), ERROR_TYPES)
    elif family.labels == ("backend", "origin"):
        yield from ((log.backend, log.log.origin) for log in logs)
    elif family.labels == ("error_type",):
        yield from ((kind,) for kind in ERROR_TYPES)


def _gauges(store: Store, facts: Facts) -> dict[str, Samples]:
    root, imported = current_root(store), last_import(store)
    return {
        **_log_gauges(store, facts.logs, facts.now),
        "attestor_trust_root_fetched_timestamp_seconds": {(): root.imported_at} if root else {},
        "attestor_bundle_imported_timestamp_seconds": {(): imported} if imported else {},
        **_home_gauges(store, facts.home),
        **_queue_gauges(facts.queue),
        **_find_gauges(facts.find),
        "attestor_witness_tree_size": {
            (row.origin, row.key_name): row.head.tree_size for row in cosigned_rows(store)
        },
        "attestor_build_info": {(__version__, platform.python_version()): 1},
    }


def _log_gauges(store: Store, logs: Sequence[LogFacts], now: int) -> dict[str, Samples]:
    sync = "attestor_rekor_sync"
    runs = {run.backend: run for run in backend_runs(store)}
    succeeded = {log.backend: _or_zero(runs, log.backend, "succeeded_at") for log in logs}
    aged = [(log.backend, log.age) for log in logs if log.age is not None]
    return {
        f"{sync}_tiles_cached": {
            (log.backend,): Mirror(store, log.log).tile_count() for log in logs
        },
        f"{sync}_last_success_seconds": {
            (name,): max(now - at, 0) for name, at in succeeded.items() if at
        },
        f"{sync}_last_success_timestamp_seconds": {(name,): at for name, at in succeeded.items()},
        f"{sync}_last_attempt_timestamp_seconds": {
            (log.backend,): _or_zero(runs, log.backend, "attempted_at") for log in logs
        },
        "attestor_rekor_checkpoint_age_seconds": {(name,): age for name, age in aged},
        "attestor_rekor_checkpoint_timestamp_seconds": {(name,): now - age for name, age in aged},
        "attestor_rekor_tree_size": {
            (log.backend,): log.tree_size for log in logs if log.tree_size is not None
        },
        "attestor_rekor_health": {
            (log.backend, health.value): log.health is health for log in logs for health in Health
        },
        "attestor_rekor_coverage_ratio": {
            (log.backend,): log.coverage for log in logs if log.coverage is not None
        },
    }


def _home_gauges(store: Store, home: HomeMetrics) -> dict[str, Samples]:
    unseen = [alert.severity for alert in alerts(store, unacked=True)]
    runs = command_runs(store)
    return {
        "attestor_alerts_unacked": {(word,): unseen.count(word) for word in SEVERITIES},
        "attestor_alert_deliveries_waiting": {(): len(undelivered(store))},
        "attestor_rekor_queue_oldest_timestamp_seconds": {(): home.oldest_item_at or 0},
        "attestor_health": {(health.value,): health is home.health for health in HOME_HEALTHS},
        "attestor_problems": _problems(home),
        "attestor_last_exit_code": {(run.command,): run.exit_code for run in runs},
        "attestor_last_success_timestamp_seconds": {
            (run.command,): run.succeeded_at or 0 for run in runs
        },
    }


def _queue_gauges(queue: QueueFacts) -> dict[str, Samples]:
    return {
        "attestor_rekor_queue_depth": {(tier,): n for tier, n in queue.depth.items()},
        "attestor_rekor_budget_remaining": {(name,): n for name, n in queue.remaining.items()},
        "attestor_rekor_budget_utilization": {
            (name,): share for name, share in queue.utilization.items()
        },
    }


def _find_gauges(find: FindFacts) -> dict[str, Samples]:
    indexed = find.indexed.items()
    return {
        "attestor_index_entries": {(name,): counts[0] for name, counts in indexed},
        "attestor_index_behind_entries": {(name,): counts[1] for name, counts in indexed},
        "attestor_index_opaque_entries": {(name,): counts[2] for name, counts in indexed},
        "attestor_watch_behind_entries": {
            (watch, origin): n for (watch, origin), n in find.watches_behind.items()
        },
        "attestor_expected_open": {(): find.expected_open},
        "attestor_expected_missing": {(): find.expected_missing},
    }


def _problems(home: HomeMetrics) -> Samples:
    """Count what is wrong, by kind and severity, with a zero where nothing is."""
    return {
        (kind.value, severity): sum(
            problem.kind is kind and problem.is_critical is (severity == "critical")
            for problem in home.problems
        )
        for kind in ProblemKind
        for severity in ("critical", "warning")
    }


def _or_zero(runs: Mapping[str, object], backend: str, name: str) -> int:
    return int(getattr(runs.get(backend), name, None) or 0)
