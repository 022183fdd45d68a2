"""Health falls with age, unless the log is frozen; a contradiction outranks everything."""

from __future__ import annotations

import pytest

from appliance.policy.coverage import Coverage
from appliance.policy.health import AgeLimits, Health, health

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
    assert health(age, LIMITS, is_frozen=is_frozen, contradicted=contradicted) is expected


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
