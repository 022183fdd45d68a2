"""The monitoring files that we ship, judged by promtool and amtool."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.interop.monitoring_peers import ask
from tests.monitoring import (
    ALERTMANAGER,
    RULE_TESTS,
    RULES,
    alert_rules,
    dashboard_expressions,
)

pytestmark = pytest.mark.interop


def test_promtool_accepts_the_rules() -> None:
    checked = ask("promtool", "check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout
    assert f"SUCCESS: {len(alert_rules())} rules found" in checked.stdout


def test_every_rule_fires_when_it_must_and_only_then() -> None:
    tested = ask("promtool", "test", "rules", RULE_TESTS)
    assert tested.returncode == 0, tested.stdout
    assert "SUCCESS" in tested.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "alert"),
    [
        # Rules that look right, and neither ever fires.
        (
            "time() - ((attestor_rekor_sync_last_success_timestamp_seconds > 0) unless on"
            ' (instance, backend) (attestor_rekor_health{health="FROZEN"} == 1)) > 900',
            "attestor_rekor_sync_last_success_seconds > 900",
            "RekorSyncStale",
        ),
        (
            "sum without (error_type) (increase(attestor_rekor_sync_errors_total"
            '{error_type!="locked"}[30m])) >= 3',
            "rate(attestor_rekor_sync_errors_total[5m]) > 0.1",
            "RekorSyncFailing",
        ),
    ],
)
def test_the_tests_of_the_rules_notice_a_rule_that_never_fires(
    right: str, wrong: str, alert: str, tmp_path: Path
) -> None:
    text = RULES.read_text()
    assert text.count(right) == 1
    (tmp_path / RULES.name).write_text(text.replace(right, wrong))
    shutil.copy(RULE_TESTS, tmp_path)
    tested = ask("promtool", "test", "rules", tmp_path / RULE_TESTS.name)
    assert tested.returncode != 0
    assert f"alertname: {alert}" in tested.stdout and "got:[]" in tested.stdout


def test_promtool_parses_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = tmp_path / "dashboard.rules.yml"
    expressions = list(dashboard_expressions())
    recording = [
        {"record": f"panel:{number}", "expr": expression}
        for number, (_, expression) in enumerate(expressions)
    ]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recording}]}))
    checked = ask("promtool", "check", "rules", rules)
    assert checked.returncode == 0, checked.stdout
    assert f"SUCCESS: {len(expressions)} rules found" in checked.stdout
    # And it would have noticed.
    rules.write_text(rules.read_text().replace("rate(", "rat(", 1))
    assert ask("promtool", "check", "rules", rules).returncode != 0


def test_amtool_accepts_the_sample_and_routes_by_it() -> None:
    checked = ask("amtool", "check-config", ALERTMANAGER)
    assert checked.returncode == 0, checked.stdout
    assert "SUCCESS" in checked.stdout
    for rule in alert_rules():
        severity = rule["labels"]["severity"]
        receiver = "security" if severity == "critical" else "operators"
        routed = ask(
            *("amtool", "config", "routes", "test", "--config.file", ALERTMANAGER),
            *(f"--verify.receivers={receiver}", f"alertname={rule['alert']}"),
            f"severity={severity}",
        )
        assert routed.returncode == 0, f"{rule['alert']}: {routed.stdout}"
    elsewhere = ask(
        *("amtool", "config", "routes", "test", "--config.file", ALERTMANAGER),
        *("--verify.receivers=security", "alertname=DiskFull", "severity=critical"),
    )
    assert elsewhere.returncode != 0, "security is told of what is not Attestor's"
