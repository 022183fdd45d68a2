"""The metrics of a home: what `metrics` prints, and what a served log answers at /metrics."""

from __future__ import annotations

from appliance.jobs.divergence.health import HomeHealth, home_health
from appliance.jobs.divergence.mirror_logs import compared_pairs
from appliance.jobs.queue.quota import queue_figures
from appliance.jobs.queue.settings import read_queue_settings
from appliance.report.metrics import (
    Facts,
    FindFacts,
    HomeMetrics,
    LogFacts,
    QueueFacts,
    metrics_text,
)
from appliance.runs.session import Session
from appliance.runs.watch import finding_figures
from appliance.store.database import Store
from appliance.store.private_log.private_logs import all_private_logs
from appliance.store.queue.queue import oldest_held
from appliance.tlog.tlog_policy import parse_tlog_policy


def home_metrics(session: Session) -> bytes:
    """Return every metric of a home now, in Prometheus' text format."""
    with session.reading() as store:
        now = session.now()
        found = home_health(store, now, clock_behind=session.clock.behind)
        home = HomeMetrics(
            found.health,
            [*found.problems, *(problem for log in found.logs for problem in log.problems)],
            oldest_held(store),
            [(pair.primary.origin, pair.mirror.origin) for pair in compared_pairs(store)],
            [one.name for one in all_private_logs(store)],
            [
                (one.log.origin, witness.name)
                for one in all_private_logs(store)
                if one.log.policy is not None
                for witness in parse_tlog_policy(one.log.policy).witnesses
            ],
        )
        queue, find = _queue(session, store), _find(session, store, now)
        return metrics_text(store, Facts(_logs(found), home, queue, find, now))


def _logs(found: HomeHealth) -> list[LogFacts]:
    return [
        LogFacts(
            log.backend.name,
            log.backend.log,
            log.tree_size,
            log.age,
            log.health,
            None if log.coverage is None else log.coverage.percent / 100,
            log.backend.mirror_of,
        )
        for log in found.logs
    ]


def _queue(session: Session, store: Store) -> QueueFacts:
    found = queue_figures(store, read_queue_settings(store).limits, session.moment())
    return QueueFacts(found.depth, found.remaining, found.utilization)


def _find(session: Session, store: Store, now: int) -> FindFacts:

    one = finding_figures(session, store, now)
    return FindFacts(
        one.indexed,
        one.watches_behind,
        one.findings,
        one.expected_open,
        one.expected_missing,
    )
