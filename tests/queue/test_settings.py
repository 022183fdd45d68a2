"""The defaults that the queue reads are those of the schema."""

from __future__ import annotations

from fractions import Fraction

from appliance.config.configuration import restore
from appliance.config.durations import parse_duration
from appliance.config.submission_keys import SUBMISSION_KEYS
from appliance.jobs.queue.settings import DEFAULTS, Retry

DURATIONS = {"rekor.budget.burstWindow", "rekor.retry.initialDelay", "rekor.retry.maxDelay"}


def test_the_defaults_are_the_schemas() -> None:
    configuration = restore("connected", {})
    names = {name for name in SUBMISSION_KEYS if name.startswith("rekor.")}
    assert set(DEFAULTS) == names
    for name in names:
        value = configuration.value(name)
        if name in DURATIONS:
            assert parse_duration(str(value)) == Fraction(DEFAULTS[name])
        else:
            assert value == DEFAULTS[name], name


def test_pauses_double_up_to_the_longest_and_are_jittered_whole() -> None:
    retry = Retry(3, 5.0, 300.0, 2.0)
    assert [retry.pause_seconds(n, 0.5) for n in (1, 2, 3, 20)] == [2.5, 5.0, 10.0, 150.0]
    assert retry.pause_seconds(1, 0.0) == 0.0
