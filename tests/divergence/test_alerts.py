"""alerts: list, show, acknowledge."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.jobs.divergence.alarm import raise_alarm
from appliance.policy.alarms import Anomaly, stale_alarm
from appliance.store.divergence.alerts import (
    NewAlert,
    ack_alert,
    end_alert,
    raise_alert,
    require_alert,
)
from appliance.store.divergence.evidence import put_evidence
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def alarmed(home: MirroredHome, origin: str = "log.example") -> None:
    alarm = stale_alarm(
        Anomaly.STALE_CHECKPOINT,
        origin=origin,
        tree_size=7,
        age=4000,
        threshold=3600,
        backend="sim",
        description="no checkpoint for an hour",
    )
    with home.mirror() as mirror, mirror.store.atomic():
        raise_alarm(mirror.store, alarm, NOW, log=mirror.log)


def test_a_home_without_alerts_says_so(home: MirroredHome) -> None:
    assert home.run("alerts", "list") == (0, "no alert\n", "")
    assert home.json("alert", "list") == {"alerts": []}


def test_an_alert_is_listed_shown_and_acknowledged(home: MirroredHome) -> None:
    alarmed(home)
    (listed,) = home.json("alerts", "list", "--unacked")["alerts"]
    assert (listed["number"], listed["type"], listed["count"]) == (1, "StaleCheckpoint", 1)
    shown = home.json("alerts", "show", listed["id"])
    assert shown == listed
    assert shown["payload"]["tenant"] == "system"
    assert shown["payload"]["detectedAt"] == "2025-10-09T08:53:20Z"
    _, text, _ = home.run("alerts", "show", "1")
    assert "thresholdSeconds  3600" in text
    home.json("alerts", "ack", "1", "--note", "seen", "--dry-run")
    assert home.json("alerts", "show", "1")["ackedAt"] is None
    home.json("alerts", "ack", "1", "--note", "seen")
    assert home.json("alerts", "list", "--unacked") == {"alerts": []}
    assert home.json("alerts", "show", "1")["ackNote"] == "seen"
    assert "was acknowledged before" in home.run("alerts", "ack", "1")[1]


def test_an_alert_that_is_not_there_is_a_clear_5(home: MirroredHome) -> None:
    alarmed(home)
    assert home.json("alerts", "show", "2", expect=5)["reason"] == "unknown-alert"
    home.json("alerts", "ack", "1", "2", expect=5)
    assert home.json("alerts", "show", "1")["ackedAt"] is None  # all or none


def test_alerts_go_to_the_configured_sinks_of_their_severity(
    home: MirroredHome, tmp_path: Path
) -> None:
    settings = tmp_path / "sinks.yaml"
    settings.write_text(
        "attestor:\n  alerts:\n    defaultTenant: acme\n    sinks:\n"
        f"      - type: file\n        path: {tmp_path / 'alerts.jsonl'}\n"
        "      - type: command\n        argv: [/bin/tell, the boss]\n"
    )
    home.json("config", "apply", settings)
    alarmed(home)
    home.json("config", "set", "alerts.alertOnWarning", "false")
    alarmed(home, "other.example")
    with home.mirror() as mirror:
        rows = mirror.store.rows("SELECT alert_number, sink FROM delivery ORDER BY sink")
    assert [tuple(row) for row in rows] == [
        (1, "command /bin/tell 'the boss'"),
        (1, f"file {tmp_path / 'alerts.jsonl'}"),
    ]
    assert home.json("alerts", "show", "1")["payload"]["tenant"] == "acme"


def test_what_is_over_is_forgotten_by_age_and_nothing_that_something_rests_on(
    home: MirroredHome,
) -> None:
    """Evidence, quarantines, what waits and what nobody has seen stay, and the newest number."""
    with home.mirror() as mirror, mirror.store.atomic():
        store, log = mirror.store, mirror.log
        evidence, _ = put_evidence(
            store, log, rule="Test", ours=b"1", theirs=b"2", details={}, detected_at=NOW
        )
        sinks: dict[str, list[str]] = {"waits": ["webhook x"]}
        severities = {"unseen": "critical", "seen": "critical"}
        for name in ("over", "lasts", "waits", "unseen", "seen", "evidence", "newest"):
            new = NewAlert(
                name,
                "Test",
                "test",
                severities.get(name, "warning"),
                {},
                evidence_id=evidence if name == "evidence" else None,
            )
            raise_alert(store, new, sinks.get(name, []), NOW - 9000)
            if name != "lasts":
                end_alert(store, name, NOW - 8000)
        ack_alert(store, require_alert(store, "5"), NOW, None)
    prune = ("alerts", "prune", "--older-than")
    assert home.json(*prune, "3h")["pruned"] == 0
    assert home.json(*prune, "2h", "--dry-run")["pruned"] == 2
    assert len(home.json("alerts", "list")["alerts"]) == 7
    assert home.run(*prune, "2h") == (0, "2 alerts forgotten\n", "")
    assert [one["number"] for one in home.json("alerts", "list")["alerts"]] == [2, 3, 4, 6, 7]
    assert home.json(*prune, "2h")["pruned"] == 0
    [line] = home.json("journal", "list", "--event", "alert.pruned")["lines"]
    assert line["details"]["count"] == 2
    alarmed(home)
    assert home.json("alerts", "show", "8")["type"] == "StaleCheckpoint"
