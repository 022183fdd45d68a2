"""What is looked at once a checkpoint was absorbed, by sync and by import alike (SPEC.md 7)."""

from __future__ import annotations

from appliance.jobs.cross_check import cross_check
from appliance.jobs.gossip import compare_waiting
from appliance.jobs.judge import end_what_nobody_asks, judge_log
from appliance.store.mirror import Mirror


def follow_up(mirror: Mirror, backend: str, now: int) -> tuple[str, ...]:
    """Compare with what was seen elsewhere and with mirror logs, and judge the age.

    `backend` is who was asked. Returns what is to be said. Raises DivergenceError, evidence
    stored, CorruptError if our own tiles are damaged, and StoreError.
    """
    compare_waiting(mirror, now)
    end_what_nobody_asks(mirror.store, mirror.log, now)
    said = cross_check(mirror.store, mirror.log, now)
    return (*said, *judge_log(mirror.store, mirror.log, backend, now))
