"""The monitoring files that we ship, as their tests read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = ROOT / "scripts" / "monitoring"
RULES = DIRECTORY / "attestor.rules.yml"
RULE_TESTS = DIRECTORY / "attestor.rules.test.yml"
ALERTMANAGER = DIRECTORY / "alertmanager.yml"
DASHBOARD = DIRECTORY / "attestor-rekor.json"

# Metrics that were promised before the first release: rules and dashboards of others name them.
PROMISED_METRICS = frozenset(
    {
        "attestor_build_info",
        "attestor_bundle_imported_timestamp_seconds",
        "attestor_last_exit_code",
        "attestor_rekor_anomalies_detected_total",
        "attestor_rekor_budget_remaining",
        "attestor_rekor_budget_utilization",
        "attestor_rekor_checkpoint_age_seconds",
        "attestor_rekor_checkpoint_mismatch_total",
        "attestor_rekor_checkpoint_rollback_detected_total",
        "attestor_rekor_checkpoint_timestamp_seconds",
        "attestor_rekor_cross_log_divergence_total",
        "attestor_rekor_edge_bundle_triggers_total",
        "attestor_rekor_queue_depth",
        "attestor_rekor_submission_errors_total",
        "attestor_rekor_submission_latency_seconds",
        "attestor_rekor_submissions_rejected_total",
        "attestor_rekor_submissions_total",
        "attestor_rekor_sync_checkpoint_age_seconds",
        "attestor_rekor_sync_checkpoints_fetched_total",
        "attestor_rekor_sync_checkpoints_stored_total",
        "attestor_rekor_sync_errors_total",
        "attestor_rekor_sync_last_success_seconds",
        "attestor_rekor_sync_last_success_timestamp_seconds",
        "attestor_rekor_sync_tiles_cached",
        "attestor_rekor_sync_tiles_cached_total",
        "attestor_rekor_sync_tiles_fetched_total",
        "attestor_trust_root_fetched_timestamp_seconds",
    }
)

_VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$backend": ".*"}


def alert_rules() -> list[dict[str, Any]]:
    """Return every alert rule."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> Any:
    """Return the dashboard."""
    return json.loads(DASHBOARD.read_text())


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    """Yield (panel's title, expression) of the dashboard, as Grafana would send it."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], as_sent(target["expr"])


def as_sent(expression: str) -> str:
    """Put values where Grafana's variables are."""
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def metric_names(expression: str) -> set[str]:
    """Return the names of Attestor's and node_exporter's metrics in an expression."""
    return set(re.findall(r"\b(?:attestor|node)_[a-z0-9_]+", expression))
