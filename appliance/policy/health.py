"""How well a log's mirror is doing (docs/monitoring.md). Decided from values, in one place."""

from __future__ import annotations

import enum
from collections.abc import Sequence

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


@frozen
class Lasting:
    """An alert about the log that is not over."""

    number: int
    type: str
    is_critical: bool


def health(
    age: float | None,
    limits: AgeLimits,
    *,
    is_frozen: bool = False,
    quarantined_beyond: int | None = None,
    lasting: Sequence[Lasting] = (),
) -> tuple[Health, tuple[str, ...]]:
    """Judge a log, with reasons, by the age of its accepted checkpoint; None: it has none.

    `quarantined_beyond`: it signed heads that cannot all be true, and nobody has explained
    them; up to this size they agree. `is_frozen`: it is not going to grow again, so age
    means nothing. An alert that lasts makes it worse than its age does.
    """
    reasons = [f"alert {one.number}: {one.type}" for one in lasting]
    if quarantined_beyond is not None:
        beyond = f"it contradicted itself; believed up to {quarantined_beyond:,} entries"
        return Health.QUARANTINED, (beyond, *reasons)
    if age is None:
        return Health.UNHEALTHY, ("no checkpoint was accepted yet", *reasons)
    if not is_frozen and age > limits.degraded:
        limit = limits.unhealthy if age > limits.unhealthy else limits.degraded
        reasons.insert(0, f"its checkpoint is {age:.0f} s old, allowed are {limit:.0f} s")
    if any(one.is_critical for one in lasting) or (age > limits.unhealthy and not is_frozen):
        return Health.UNHEALTHY, tuple(reasons)
    if is_frozen:
        return Health.FROZEN, tuple(reasons)
    return (Health.DEGRADED if reasons else Health.HEALTHY), tuple(reasons)
