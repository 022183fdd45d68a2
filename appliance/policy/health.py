"""How well a log's mirror is doing (SPEC.md section 6). Decided from values, in one place."""

from __future__ import annotations

import enum

from appliance.value import frozen


class Health(enum.Enum):
    """From good to bad; a frozen log is neither."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"
    QUARANTINED = "QUARANTINED"
    FROZEN = "FROZEN"


@frozen
class AgeLimits:
    """Beyond which age of the accepted checkpoint health drops. Seconds."""

    degraded: float
    unhealthy: float


def health(
    age: float | None, limits: AgeLimits, *, is_frozen: bool = False, contradicted: bool = False
) -> Health:
    """Judge a log by the age of its accepted checkpoint in seconds; None: it has none.

    `contradicted`: it signed two heads that cannot both be true, and nobody has explained
    them. `is_frozen`: the log said that it will never grow again, so age means nothing.
    """
    if contradicted:
        return Health.QUARANTINED
    if age is None or (age > limits.unhealthy and not is_frozen):
        return Health.UNHEALTHY
    if is_frozen:
        return Health.FROZEN
    return Health.DEGRADED if age > limits.degraded else Health.HEALTHY
