from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.durations import MAX_DURATION_DAYS, format_milliseconds, parse_milliseconds
from appliance.errors import ConfigError

CENTURY_MILLISECONDS = MAX_DURATION_DAYS * 86_400_000


@pytest.mark.parametrize(
    ("text", "milliseconds", "canonical"),
    [
        ("5m", 300_000, "5m"),
        ("90m", 5_400_000, "1h30m"),
        ("1h30m", 5_400_000, "1h30m"),
        ("250ms", 250, "250ms"),
        ("1s250ms", 1_250, "1s250ms"),
        ("1m5ms", 60_005, "1m5ms"),
        ("720h", 2_592_000_000, "30d"),
        ("14d", 1_209_600_000, "14d"),
        ("1d2h3m4s5ms", 93_784_005, "1d2h3m4s5ms"),
        ("0s", 0, "0s"),
        ("007m", 420_000, "7m"),
        ("00:10:00", 600_000, "10m"),
        ("23:59:59", 86_399_000, "23h59m59s"),
        ("1.02:03:04", 93_784_000, "1d2h3m4s"),
        ("00:00:00.25", 250, "250ms"),
        ("00:00:00.2500000", 250, "250ms"),
        (f"{MAX_DURATION_DAYS}d", CENTURY_MILLISECONDS, f"{MAX_DURATION_DAYS}d"),
    ],
)
def test_good_durations(text: str, milliseconds: int, canonical: str) -> None:
    assert parse_milliseconds(text) == milliseconds
    assert format_milliseconds(milliseconds) == canonical
    assert parse_milliseconds(canonical) == milliseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("300", "300 has no unit"),
        ("1.5", "1.5 has no unit"),
        ("-5m", "'-5m' is negative"),
        ("-300", "'-300' is negative"),
        ("24:00:00", "'24:00:00' has 24 hours, 23 at most"),
        ("00:00:00.0001", "'00:00:00.0001' is finer than a millisecond"),
        ("36501d", "'36501d' is longer than 36500d"),
        ("999999999999d", "'999999999999d' is longer than 36500d"),
    ],
)
def test_bad_durations_that_say_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_milliseconds(text)
    assert caught.value.message == message
    assert caught.value.reason == "bad-duration"


BAD = [
    *["5M", "1.5h", "5 m", " 5m", "5m ", "5m\n", "m", "5min", "1m1h", "5m5m", "+5m", "1d 2h"],
    *["00:10", "0:10:00", "00:60:00", "00:00:60", "1:02:03:04", "00:10:00.", "1.2.03:04:05"],
    *["00:10:00.12345678", "\N{ARABIC-INDIC DIGIT FIVE}m", "five", "1w", "5us", "1_0m", "off", ""],
    "1234567890123d",
]


@pytest.mark.parametrize("text", BAD)
def test_bad_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a duration"):
        parse_milliseconds(text)


@given(st.integers(0, CENTURY_MILLISECONDS))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    assert parse_milliseconds(format_milliseconds(milliseconds)) == milliseconds


@given(st.text() | st.text("0123456789dhms:.-"))
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    try:
        milliseconds = parse_milliseconds(text)
    except ConfigError:
        return
    assert parse_milliseconds(format_milliseconds(milliseconds)) == milliseconds


def test_what_is_no_duration_is_not_written() -> None:
    with pytest.raises(ValueError, match="negative: -1 ms"):
        format_milliseconds(-1)
