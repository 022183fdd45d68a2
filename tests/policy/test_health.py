"""Health falls with age, unless the log is frozen; a contradiction outranks everything."""

from __future__ import annotations

import pytest

from appliance.policy.coverage import Coverage
from appliance.policy.health import AgeLimits, Health, Lasting, health

LIMITS = AgeLimits(degraded=1800, unhealthy=7200)


@pytest.mark.parametrize(
    ("age", "is_frozen", "contradicted", "expected"),
    [
        (0, False, False, Health.HEALTHY),
        (1800, False, False, Health.HEALTHY),
        (1801, False, False, Health.DEGRADED),
        (7200, False, False, Health.DEGRADED),
        (7201, False, False, Health.UNHEALTHY),
        (None, False, False, Health.UNHEALTHY),
        (None, True, False, Health.UNHEALTHY),
        (0, True, False, Health.FROZEN),
        (10**9, True, False, Health.FROZEN),
        (0, False, True, Health.QUARANTINED),
        (0, True, True, Health.QUARANTINED),
        (None, False, True, Health.QUARANTINED),
    ],
)
def test_each_case_has_its_health(
    age: int | None, is_frozen: bool, contradicted: bool, expected: Health
) -> None:
    beyond = 7 if contradicted else None
    found, reasons = health(age, LIMITS, is_frozen=is_frozen, quarantined_beyond=beyond)
    assert found is expected
    assert bool(reasons) == (found not in (Health.HEALTHY, Health.FROZEN))


@pytest.mark.parametrize(
    ("is_critical", "is_frozen", "expected"),
    [
        (False, False, Health.DEGRADED),
        (True, False, Health.UNHEALTHY),
        (True, True, Health.UNHEALTHY),
        (False, True, Health.FROZEN),
    ],
)
def test_an_alert_that_lasts_makes_it_worse_and_is_named(
    is_critical: bool, is_frozen: bool, expected: Health
) -> None:
    lasting = [Lasting(3, "StaleReplica", is_critical)]
    assert health(0, LIMITS, is_frozen=is_frozen, lasting=lasting) == (
        expected,
        ("alert 3: StaleReplica",),
    )


@pytest.mark.parametrize(
    ("present", "expected", "percent", "text"),
    [
        (0, 0, 100.0, "100.0% (0)"),
        (0, 3, 0.0, "0.0% (600)"),
        (1, 3, 33.3, "33.3% (600)"),
        (3, 3, 100.0, "100.0% (600)"),
        (99_999, 100_000, 99.9, "99.9% (25,600,000)"),  # never rounded up to all
    ],
)
def test_coverage_is_100_percent_only_if_nothing_is_missing(
    present: int, expected: int, percent: float, text: str
) -> None:
    size = {0: 0, 3: 600, 100_000: 25_600_000}[expected]
    coverage = Coverage(size, present, expected)
    assert (coverage.percent, str(coverage)) == (percent, text)
