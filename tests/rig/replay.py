"""What a proxy saw, judged against the budget: nothing here is the appliance's own.

Windows are counted as docs/queue.md states them, from the proxy's record alone: of
what the log took, whether or not anybody was told, at most so many of a tenant in any so
many seconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.rig.fault_proxy import LOST, Write


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` in any `seconds`."""

    seconds: float
    most: int


def taken(writes: Iterable[Write]) -> list[Write]:
    """Return the writes that became an entry of the log."""
    return [one for one in writes if one.status in (200, 201)]


def fullest(times: Sequence[float], seconds: float) -> int:
    """Return how many of `times` the fullest window of so many seconds holds, by trying all."""
    ascending, best, first = sorted(times), 0, 0
    for last, time in enumerate(ascending):
        while time - ascending[first] >= seconds:
            first += 1
        best = max(best, last - first + 1)
    return best


def over_budget(
    writes: Iterable[Write], tenant_of: Mapping[str, str], limits: Sequence[Limit]
) -> list[str]:
    """Say which tenant's windows held more than they may."""
    return [
        f"{tenant}: {held} in {limit.seconds} s, at most {limit.most} allowed"
        for tenant, own in _times(writes, tenant_of)
        for limit in limits
        if (held := fullest(own, limit.seconds)) > limit.most
    ]


def fullest_of(writes: Iterable[Write], tenant_of: Mapping[str, str], seconds: float) -> int:
    """Return how many the fullest window of any tenant holds."""
    return max((fullest(own, seconds) for _, own in _times(writes, tenant_of)), default=0)


def _times(writes: Iterable[Write], tenant_of: Mapping[str, str]) -> list[tuple[str, list[float]]]:
    times: dict[str, list[float]] = defaultdict(list)
    for one in taken(writes):
        times[tenant_of[one.request]].append(one.at)
    return sorted(times.items())


def unexplained_duplicates(
    writes: Iterable[Write], leaves: Mapping[str, int], interrupted: Mapping[str, int]
) -> list[str]:
    """Say which requests are in the log more often than lost answers explain.

    `leaves` is how often the log holds the entry of each request, `interrupted` how often
    the client was killed while it was sending it, both by SHA-256 of the request.
    """
    lost = Counter(one.request for one in taken(writes) if one.fault in LOST or not one.told)
    return [
        f"{request}: {copies} entries, {lost[request]} answers lost, "
        f"{interrupted.get(request, 0)} interrupted"
        for request, copies in leaves.items()
        if copies - 1 > lost[request] + interrupted.get(request, 0)
    ]
