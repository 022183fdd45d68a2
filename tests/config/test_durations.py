from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.durations import MAX_DURATION_DAYS, format_duration, parse_duration
from appliance.errors import ConfigError

CENTURY_MILLISECONDS = MAX_DURATION_DAYS * 86_400_000


@pytest.mark.parametrize(
    ("text", "seconds", "canonical"),
    [
        ("5m", Fraction(300), "5m"),
        ("90m", Fraction(5400), "1h30m"),
        ("1h30m", Fraction(5400), "1h30m"),
        ("250ms", Fraction(1, 4), "250ms"),
        ("1s250ms", Fraction(5, 4), "1s250ms"),
        ("1m5ms", Fraction(60_005, 1000), "1m5ms"),
        ("720h", Fraction(2_592_000), "30d"),
        ("14d", Fraction(1_209_600), "14d"),
        ("1d2h3m4s5ms", Fraction(93_784_005, 1000), "1d2h3m4s5ms"),
        ("0s", Fraction(0), "0s"),
        ("007m", Fraction(420), "7m"),
        ("00:10:00", Fraction(600), "10m"),
        ("23:59:59", Fraction(86_399), "23h59m59s"),
        ("1.02:03:04", Fraction(93_784), "1d2h3m4s"),
        ("00:00:00.25", Fraction(1, 4), "250ms"),
        ("00:00:00.2500000", Fraction(1, 4), "250ms"),
        (f"{MAX_DURATION_DAYS}d", Fraction(CENTURY_MILLISECONDS, 1000), f"{MAX_DURATION_DAYS}d"),
    ],
)
def test_good_durations(text: str, seconds: Fraction, canonical: str) -> None:
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == canonical
    assert parse_duration(canonical) == seconds


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
        parse_duration(text)
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
        parse_duration(text)


@given(st.integers(0, CENTURY_MILLISECONDS))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    seconds = Fraction(milliseconds, 1000)
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text() | st.text("0123456789dhms:.-"))
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ConfigError:
        return
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("seconds", [Fraction(1, 3), Fraction(-1), Fraction(1, 2000)])
def test_what_is_no_duration_is_not_written(seconds: Fraction) -> None:
    with pytest.raises(ValueError, match="milliseconds"):
        format_duration(seconds)
