"""What the queue reads from a configuration."""

from __future__ import annotations

from appliance.config.configuration import restore
from appliance.jobs.queue.settings import queue_settings


def test_pauses_double_up_to_the_longest_and_are_jittered_whole() -> None:
    backoff = queue_settings(restore("connected", {})).retry.backoff
    assert [backoff.pause(n, 0.5) for n in (1, 2, 3, 20)] == [2.5, 5.0, 10.0, 150.0]
    assert backoff.pause(1, 0.0) == 0.0
