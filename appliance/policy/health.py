"""How well a log's mirror is doing (SPEC.md section 6). Decided from values, in one place."""

from __future__ import annotations

import enum
from typing import Final

from appliance.value import frozen

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


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


# An isolated site hears of a log when somebody carries it in.
DEFAULT_LIMITS: Final = {
    "connected": AgeLimits(30 * _MINUTE, 2 * _HOUR),
    "isolated": AgeLimits(14 * _DAY, 30 * _DAY),
}


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
