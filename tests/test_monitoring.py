"""What we ship for Prometheus, Alertmanager and Grafana, as far as it can be read without them.

tests/interop/test_monitoring.py has it judged by the real programs.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from appliance.report.metric_families import FAMILIES
from tests.monitoring import (
    PROMISED_METRICS,
    ROOT,
    RULE_TESTS,
    alert_rules,
    dashboard,
    dashboard_expressions,
    metric_names,
)

# What node_exporter says of its own textfile collector.
NODE_EXPORTER = {"node_textfile_mtime_seconds", "node_textfile_scrape_error"}


RULES = [pytest.param(rule, id=rule["alert"]) for rule in alert_rules()]
PANELS = [pytest.param(*one, id=f"{one[0]} {n}") for n, one in enumerate(dashboard_expressions())]


def names_of_rules() -> set[str]:
    return {rule["alert"] for rule in alert_rules()}


def test_there_is_a_rule_for_everything_that_was_promised() -> None:
    assert {"RekorSyncStale", "RekorSyncFailing"} <= names_of_rules()
    of = {
        rule["alert"]: (" ".join(rule["expr"].split()), rule.get("for")) for rule in alert_rules()
    }
    stale, pending = of["RekorSyncStale"]
    assert stale.startswith("time() - ") and stale.endswith("> 900") and pending == "5m"
    assert "last_success_timestamp_seconds" in stale
    assert of["RekorQueueDeep"][0].endswith("> 1000")
    assert of["RekorSubmissionsRejected"][0].endswith("[1h]) > 100")
    assert of["RekorBudgetNearlyUsed"][0].endswith("> 0.8")
    assert "node_textfile_mtime_seconds" in of["AttestorMetricsNotRefreshed"][0]
    assert of["AttestorMetricsMissing"][0].startswith("absent(")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_says_how_bad_what_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}


@pytest.mark.parametrize("rule", RULES)
def test_where_to_read_on_is_a_section_of_the_runbook(rule: dict[str, Any]) -> None:
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"(?m)^## (.*)$", (ROOT / path).read_text())
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_the_runbook_names_every_rule() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    general = {"RekorAnomalyCritical", "RekorAnomalyWarning", "AttestorCommandFailing"}
    general |= {"AttestorCriticalUnacknowledged"}
    assert [one for one in names_of_rules() - general if one not in text] == []


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_shown_to_fire_and_to_be_quiet(rule: dict[str, Any]) -> None:
    cases = [
        case
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == rule["alert"]
    ]
    assert any(case["exp_alerts"] for case in cases), "never shown to fire"
    assert any(not case["exp_alerts"] for case in cases), "never shown to be quiet"


def test_the_dashboard_is_the_one_the_specification_names() -> None:
    shown = dashboard()
    assert shown["uid"] == "attestor-rekor"
    ids = [panel["id"] for panel in shown["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in shown["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        if panel["type"] != "row":
            assert panel["targets"] and panel["description"], panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
    variables = {one["name"] for one in shown["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\b", str(shown["panels"])))
    assert used == variables


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(("title", "expression"), PANELS)
def test_no_variable_is_left_in_an_expression(title: str, expression: str) -> None:
    assert "$" not in expression
    assert metric_names(expression)


def exposed() -> set[str]:
    """Return every name that `attestor metrics` can expose a sample under."""
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    return {one.name + part for one in FAMILIES for part in parts.get(one.kind, ("",))}


def test_rules_and_dashboard_name_only_what_is_exposed() -> None:
    expressions = [rule["expr"] for rule in alert_rules()]
    expressions += [expression for _, expression in dashboard_expressions()]
    named = set().union(*map(metric_names, expressions))
    assert named - NODE_EXPORTER <= exposed()


def test_rules_and_dashboard_name_only_labels_that_are_there() -> None:
    known = {label for family in FAMILIES for label in family.labels}
    known |= {"le", "instance", "file"}  # a histogram's, Prometheus' own, node_exporter's
    expressions = [rule["expr"] for rule in alert_rules()]
    expressions += [expression for _, expression in dashboard_expressions()]
    for expression in expressions:
        grouped = re.findall(r"(?:by|without) \(([^)]*)\)", expression)
        named = {word for words in grouped for word in words.split(", ")}
        named |= set(re.findall(r"[{,]([a-z_]+)=", expression))
        assert named <= known, expression


@pytest.mark.parametrize("name", sorted(PROMISED_METRICS))
def test_the_dashboard_shows_every_metric_that_was_promised(name: str) -> None:
    shown = {
        found.removesuffix("_bucket")
        for _, expression in dashboard_expressions()
        for found in metric_names(expression)
    }
    assert name in shown
