"""Each setting of the queue and of publishing changes what a command does."""

from __future__ import annotations

import json

from appliance.jobs.queue.settings import queue_settings
from tests.queue.short_budget import ShortHome
from tests.queue.signed_files import write_artifact


def add(home: ShortHome, name: str, *options: str, expect: int = 0) -> dict[str, object]:
    words = write_artifact(home.path.parent / name, name.encode())
    found: dict[str, object] = home.json("queue", "add", *words, *options, expect=expect)
    return found


def test_setting_rekor_enabled(home: ShortHome) -> None:
    home.json("config", "set", "rekor.enabled", "false")
    home.fill(1)
    assert home.json("queue", "drain") == {"enabled": False}
    assert home.states() == {"queued": 1}


def test_setting_rekor_serverUrl(home: ShortHome) -> None:
    home.json("config", "set", "rekor.serverUrl", "null")
    assert home.json("queue", "drain", expect=9)["reason"] == "no-server"


def test_setting_rekor_tier(home: ShortHome) -> None:
    edge = ("--tier", "edge", "--escalate")
    assert add(home, "one", *edge, expect=8)["reason"] == "edges-disabled"
    home.json("config", "set", "rekor.tier", "with-edges")
    add(home, "two", *edge)


def test_setting_rekor_edgeBundles_enabled(home: ShortHome) -> None:
    home.json("config", "set", "rekor.tier", "with-edges")
    home.json("config", "set", "rekor.edgeBundles.enabled", "false")
    refused = add(home, "one", "--tier", "edge", "--escalate", expect=8)
    assert refused["reason"] == "edges-disabled"


def test_setting_rekor_edgeBundles_triggers(home: ShortHome) -> None:
    home.json("config", "set", "rekor.tier", "with-edges")
    home.json("config", "set", "rekor.edgeBundles.triggers", "[{cvssThreshold: 7}]")
    add(home, "one", "--tier", "edge", "--escalate", expect=8)
    add(home, "two", "--tier", "edge", "--cvss", "7.5", "--reachable")


def test_setting_rekor_budget_hourlyLimit(home: ShortHome) -> None:
    home.json("config", "set", "rekor.budget.hourlyLimit", "2")
    home.fill(3)
    assert home.json("queue", "drain")["logged"] == 2


def test_setting_rekor_budget_burstLimit(home: ShortHome) -> None:
    # The burst limit is by the hour: 6 an hour are 1 in each window of ten minutes.
    home.json("config", "set", "rekor.budget.burstLimit", "6")
    home.json("config", "set", "rekor.budget.hourlyLimit", "6")
    home.fill(3)
    assert home.json("queue", "drain")["logged"] == 1


def test_setting_rekor_budget_burstWindow(home: ShortHome) -> None:
    home.json("config", "set", "rekor.budget.burstLimit", "6")
    home.json("config", "set", "rekor.budget.hourlyLimit", "6")
    home.json("config", "set", "rekor.budget.burstWindow", "30m")
    home.fill(4)
    assert home.json("queue", "drain")["logged"] == 3


def test_setting_rekor_budget_edgeBundleDailyLimit(home: ShortHome) -> None:
    home.json("config", "set", "rekor.budget.edgeBundleDailyLimit", "7")
    home.json("config", "set", "rekor.tier", "with-edges")
    assert home.json("budget", "check", "--tier", "edge")["free"] == 7


def test_setting_rekor_retry_maxAttempts(home: ShortHome) -> None:
    home.json("config", "set", "rekor.retry.maxAttempts", "9")
    assert queue_settings(home.app.configuration).retry.max_attempts == 9


def retried_after(home: ShortHome, *settings: str) -> int:
    """Drain to a server that is not there; return in how many seconds the item is due again."""
    for setting in settings:
        home.json("config", "set", *setting.split("="))
    home.json("config", "set", "rekor.retry.maxAttempts", "1")
    key = home.path.parent / "log.key"
    home.json(
        *("backend", "add", "upstream", "--origin", "log.example", "--url", "http://127.0.0.1:9/"),
        *("--public-key", key),
    )
    home.json("config", "set", "rekor.serverUrl", "http://127.0.0.1:9/")
    home.fill(1)
    home.run("queue", "drain")
    [item] = home.items()
    shown = home.json("queue", "show", item["id"])
    from datetime import datetime

    return int(datetime.fromisoformat(shown["notBefore"]).timestamp()) - home.app.now()


def test_setting_rekor_retry_initialDelay(home: ShortHome) -> None:
    assert retried_after(home, "rekor.retry.maxDelay=10h", "rekor.retry.initialDelay=5h") > 600


def test_setting_rekor_retry_maxDelay(home: ShortHome) -> None:
    settings = ("rekor.retry.initialDelay=1s", "rekor.retry.maxDelay=1s")
    assert retried_after(home, *settings) <= 1


def test_setting_rekor_retry_backoffMultiplier(home: ShortHome) -> None:
    home.json("config", "set", "rekor.retry.backoffMultiplier", "3.0")
    backoff = queue_settings(home.app.configuration).retry.backoff
    assert [backoff.pause(n, 1.0) for n in (1, 2, 3)] == [5.0, 15.0, 45.0]


def test_setting_rekor_offline_queueEnabled(home: ShortHome) -> None:
    home.json("config", "set", "rekor.offline.queueEnabled", "false")
    assert add(home, "one", expect=8)["reason"]


def test_setting_rekor_offline_maxQueueSize(home: ShortHome) -> None:
    home.json("config", "set", "rekor.offline.maxQueueSize", "1")
    add(home, "one")
    assert add(home, "two", expect=8)["reason"] == "queue-full"


def test_setting_rekor_offline_drainOnConnect(home: ShortHome) -> None:
    home.json("config", "set", "rekor.offline.drainOnConnect", "false")
    home.fill(1)
    assert "queue" not in home.json("sync")
    home.json("config", "set", "rekor.offline.drainOnConnect", "true")
    assert home.json("sync")["queue"]["logged"] == 1


def test_setting_rekor_aggregate_enabled(home: ShortHome) -> None:
    home.json("config", "set", "rekor.aggregate.enabled", "true")
    home.json("config", "set", "rekor.aggregate.minItems", "2")
    home.fill(8)
    home.json("queue", "drain")
    assert home.states()["aggregated"] == 4


def test_setting_rekor_aggregate_minItems(home: ShortHome) -> None:
    home.json("config", "set", "rekor.aggregate.enabled", "true")
    home.json("config", "set", "rekor.aggregate.minItems", "5")
    home.fill(8)
    home.json("queue", "drain")
    assert "aggregated" not in home.states()


def test_setting_rekor_aggregate_log(home: ShortHome) -> None:
    home.json("config", "set", "rekor.aggregate.log", "absent")
    home.fill(8)
    refused = home.json("queue", "aggregate", "--min-items", "2", expect=5)
    assert "absent" in refused["message"]


def test_setting_publish_rekorUrl(home: ShortHome) -> None:
    assert home.json("publish")["configured"] if set_publish(home) else False


def set_publish(home: ShortHome, *settings: str) -> bool:
    url = json.loads(home.run("config", "show", "--json")[1])["data"]["settings"]["rekor.serverUrl"]
    home.json("config", "set", "publish.rekorUrl", url)
    for setting in settings:
        home.json("config", "set", *setting.split("="))
    return True


def test_setting_publish_everyEvents(home: ShortHome) -> None:
    set_publish(home, "publish.everySeconds=86400", "publish.everyEvents=1000")
    assert home.json("publish")["published"] == []
    home.json("config", "set", "publish.everyEvents", "1")
    assert len(home.json("publish")["published"]) == 1


def test_setting_publish_everySeconds(home: ShortHome) -> None:
    set_publish(home, "publish.everySeconds=60", "publish.everyEvents=1000")
    assert home.json("publish")["published"] == []
    home.wait(61)
    assert len(home.json("publish")["published"]) == 1
