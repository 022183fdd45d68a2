"""metrics: every family with HELP and TYPE, values that are the store's."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.report.metric_families import FAMILIES
from appliance.store.home.counters import count, observe
from appliance.store.home.runs import record_command, record_failure, record_success
from appliance.value import replaced
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.monitoring import PROMISED_METRICS

Key = tuple[str, frozenset[tuple[str, str]]]
PREFIX = "attestor_rekor_sync"


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def samples(text: str) -> dict[Key, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            assert one.timestamp is None, "node_exporter skips a file with times in it"
            found[one.name, frozenset(one.labels.items())] = one.value
    return found


def key(name: str, **labels: str) -> Key:
    return name, frozenset(labels.items())


def scrape(home: MirroredHome) -> dict[Key, float]:
    code, out, err = home.run("metrics")
    assert (code, err) == (0, "")
    return samples(out)


def test_every_family_has_help_and_type_even_without_a_sample(home: MirroredHome) -> None:
    _, text, _ = home.run("metrics")
    for family in FAMILIES:
        assert f"# HELP {family.name} {family.help}\n" in text
        assert f"# TYPE {family.name} {family.kind}\n" in text
    assert text.count("# TYPE ") == len(FAMILIES)


def test_every_promised_metric_is_there() -> None:
    assert PROMISED_METRICS - {family.name for family in FAMILIES} == set()


def test_a_mirror_shows_its_size_age_and_health(home: MirroredHome) -> None:
    home.sync(300)
    home.app = replaced(home.app, now=lambda: NOW + 100)
    found = scrape(home)
    assert found[key("attestor_rekor_tree_size", backend="sim")] == 300
    assert found[key("attestor_rekor_checkpoint_age_seconds", backend="sim")] == 100
    assert found[key("attestor_rekor_checkpoint_timestamp_seconds", backend="sim")] == NOW
    assert found[key(f"{PREFIX}_tiles_cached", backend="sim")] == 3
    assert found[key("attestor_rekor_health", backend="sim", health="HEALTHY")] == 1
    assert found[key("attestor_rekor_health", backend="sim", health="UNHEALTHY")] == 0


def test_counters_begin_with_zero_so_that_the_first_increase_is_one(home: MirroredHome) -> None:
    found = scrape(home)
    assert found[key(f"{PREFIX}_errors_total", backend="sim", error_type="proof")] == 0
    labels = {"backend": "sim", "origin": home.log.origin}
    assert found[key("attestor_rekor_checkpoint_mismatch_total", **labels)] == 0


def test_counters_and_histograms_are_the_stores(home: MirroredHome) -> None:
    name = f"{PREFIX}_checkpoint_age_seconds"
    with home.mirror() as mirror, mirror.store.atomic():
        count(mirror.store, f"{PREFIX}_tiles_cached_total", {"backend": "sim"}, 7)
        for age in (30.0, 90.0):
            observe(mirror.store, name, {"backend": "sim"}, age, [60, 300])
        record_failure(mirror.store, "sim", NOW - 20, "down")
        record_success(mirror.store, "sim", NOW - 10, behind=False)
        record_failure(mirror.store, "sim", NOW - 5, "down")
        record_command(mirror.store, "sync", 7, NOW - 5)
    found = scrape(home)
    assert found[key(f"{PREFIX}_tiles_cached_total", backend="sim")] == 7
    assert found[key(f"{PREFIX}_tiles_cached", backend="sim")] == 0
    assert found[key(f"{name}_bucket", backend="sim", le="60")] == 1
    assert found[key(f"{name}_bucket", backend="sim", le="300")] == 2
    assert found[key(f"{name}_bucket", backend="sim", le="+Inf")] == 2
    assert found[key(f"{name}_sum", backend="sim")] == 120
    assert found[key(f"{name}_count", backend="sim")] == 2
    assert found[key(f"{PREFIX}_last_success_seconds", backend="sim")] == 10
    assert found[key(f"{PREFIX}_last_success_timestamp_seconds", backend="sim")] == NOW - 10
    assert found[key(f"{PREFIX}_last_attempt_timestamp_seconds", backend="sim")] == NOW - 5
    assert found[key("attestor_last_exit_code", command="sync")] == 7


def test_a_log_that_never_answered_has_a_timestamp_that_alerts(home: MirroredHome) -> None:
    found = scrape(home)
    assert found[key(f"{PREFIX}_last_success_timestamp_seconds", backend="sim")] == 0
    assert key(f"{PREFIX}_last_success_seconds", backend="sim") not in found


def test_a_textfile_is_whole_readable_and_replaced(home: MirroredHome, tmp_path: Path) -> None:
    file = tmp_path / "attestor.prom"
    home.json("metrics", "--textfile", file)
    first = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644
    home.sync(5)
    home.json("metrics", "--textfile", file)
    assert samples(first) != samples(file.read_text())
    assert [one.name for one in tmp_path.glob("*prom*")] == ["attestor.prom"]


def test_a_textfile_that_nobody_would_read_is_refused(home: MirroredHome, tmp_path: Path) -> None:
    code, _, err = home.run("metrics", "--textfile", tmp_path / "attestor.txt")
    assert (code, "ends in .prom" in err) == (2, True)
    code, _, err = home.run("metrics", "--textfile", tmp_path / "none" / "attestor.prom")
    assert code == 5 and "none" in err


def test_the_queue_and_the_budget_are_there_before_anything_waits(home: MirroredHome) -> None:
    found = scrape(home)
    assert found[key("attestor_rekor_queue_depth", tier="graph")] == 0
    assert found[key("attestor_rekor_queue_depth", tier="edge")] == 0
    # 34 in ten minutes is the tighter window of an untouched budget.
    assert found[key("attestor_rekor_budget_remaining", tenant="system")] == 34
    assert found[key("attestor_rekor_budget_utilization", tenant="system")] == 0
