"""The metrics of the queue and its budgets have the values that the queue has."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.errors import RefusedError
from appliance.report.metric_families import FAMILIES
from tests.queue.short_budget import BUDGET, ShortHome
from tests.queue.signed_files import write_artifact


def metrics(home: ShortHome) -> dict[tuple[str, ...], float]:
    """Every sample by name and label values."""
    text = home.json("metrics")["text"]
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_depth_budget_and_submissions(home: ShortHome) -> None:
    before = metrics(home)
    assert before["attestor_rekor_queue_depth", "graph"] == 0
    assert before["attestor_rekor_budget_remaining", "acme"] == BUDGET
    assert before["attestor_rekor_budget_utilization", "acme"] == 0
    home.fill(BUDGET + 3)
    assert metrics(home)["attestor_rekor_queue_depth", "graph"] == BUDGET + 3
    home.json("queue", "drain")
    found = metrics(home)
    assert found["attestor_rekor_queue_depth", "graph"] == 3
    assert found["attestor_rekor_queue_depth", "edge"] == 0
    assert found["attestor_rekor_budget_remaining", "acme"] == 0
    assert found["attestor_rekor_budget_utilization", "acme"] == 1
    assert found["attestor_rekor_budget_remaining", "system"] == BUDGET
    assert found["attestor_rekor_submissions_total", "logged", "graph"] == BUDGET
    assert found["attestor_rekor_submission_latency_seconds_count", "graph"] == BUDGET
    # The budget comes back, and what waited goes.
    home.wait(3602)
    assert metrics(home)["attestor_rekor_budget_remaining", "acme"] == BUDGET
    home.json("queue", "drain")
    found = metrics(home)
    assert found["attestor_rekor_queue_depth", "graph"] == 0
    assert found["attestor_rekor_submissions_total", "logged", "graph"] == BUDGET + 3
    assert found["attestor_rekor_budget_utilization", "acme"] == 3 / BUDGET


def test_every_family_of_counters_and_histograms_starts_at_zero(home: ShortHome) -> None:
    found = {name for name, *_ in metrics(home)}
    for family in FAMILIES:
        suffix = {"histogram": "_count", "counter": "", "gauge": None}[family.kind]
        needs_mirror = family.labels == ("primary", "mirror")
        needs_watch = "watch" in family.labels
        needs_witness = "witness" in family.labels or family.labels == ("origin",)
        needs_log = "log" in family.labels
        if suffix is not None and not (needs_mirror or needs_watch or needs_witness or needs_log):
            assert f"{family.name}{suffix}" in found, family.name


def test_every_refusal_is_counted_and_a_typed_name_is_no_label(home: ShortHome) -> None:
    signed = write_artifact(home.path.parent / "signed", b"refused")
    for words, code, reason in (
        (("--tier", "edge", "--escalate"), 8, "edges-disabled"),
        (("--tenant", "nobody"), 5, "unknown-tenant"),
    ):
        assert home.json("queue", "add", *signed, *words, expect=code)["reason"] == reason
    home.json("config", "set", "rekor.tier", "with-edges")
    assert home.json("queue", "add", *signed, "--tier", "edge", expect=8)["reason"] == "no-trigger"
    home.json("config", "set", "rekor.offline.queueEnabled", "false")
    assert home.json("queue", "add", *signed, expect=8)["reason"] == "queue-disabled"
    found = metrics(home)
    rejected = "attestor_rekor_submissions_rejected_total"
    assert found[rejected, "system"] == 3
    assert (rejected, "nobody") not in found


def test_what_is_refused_and_what_fails_is_counted(home: ShortHome) -> None:
    home.json("config", "set", "rekor.offline.maxQueueSize", "1")
    with pytest.raises(RefusedError, match="the queue is full"):
        home.fill(2)
    home.json("backend", "add", "upstream", *_nowhere(home))
    home.json("config", "set", "rekor.serverUrl", "http://127.0.0.1:1")
    home.json("config", "set", "rekor.retry.maxAttempts", "1")
    home.json("queue", "drain", expect=7)
    found = metrics(home)
    assert found["attestor_rekor_submissions_rejected_total", "acme"] == 1
    assert found["attestor_rekor_submission_errors_total", "network"] >= 1
    assert found["attestor_rekor_queue_depth", "graph"] == 1


def _nowhere(home: ShortHome) -> tuple[str, ...]:
    """The same log, at an address where nobody listens."""
    origin = home.json("backend", "show", "upstream")["origin"]
    key = str(home.path.parent / "log.key")
    return ("--origin", origin, "--public-key", key, "--url", "http://127.0.0.1:1")


def test_a_tenant_has_a_budget_of_its_own(home: ShortHome) -> None:
    added = home.json("tenant", "add", "acme", "--hourly-limit", "1", "--burst-limit", "600")
    assert (added["new"], added["hourlyLimit"], added["edgeDailyLimit"]) == (False, 1, None)
    assert home.json("tenant", "add", "acme", "--edge-daily-limit", "2")["hourlyLimit"] == 1
    found = {one["name"]: one for one in home.json("tenant", "list")["tenants"]}
    assert (found["acme"]["edgeDailyLimit"], found["system"]["hourlyLimit"]) == (2, None)
    acme = home.run("tenant", "list")[1].splitlines()[1]
    assert acme.split() == ["acme", "enabled", "0", "1", "600", "2"]
    assert home.json("budget", "check", "--tenant", "acme", "--count", "2", expect=8)
    home.json("budget", "check", "--tenant", "system", "--count", str(BUDGET))
    home.fill(3)
    home.json("queue", "drain")
    assert home.states() == {"logged": 1, "queued": 2}
    assert metrics(home)["attestor_rekor_budget_utilization", "acme"] == 1
    home.json("tenant", "add", "acme", "--hourly-limit", str(BUDGET + 2))
    home.json("queue", "drain")
    assert home.states() == {"logged": 3}
