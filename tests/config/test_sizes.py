from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.sizes import MAX_SIZE_BYTES, format_size, parse_size
from appliance.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "n_bytes", "canonical"),
    [
        ("0", 0, "0"),
        ("0GiB", 0, "0"),
        ("10737418240", 10 * 2**30, "10GiB"),
        ("10GiB", 10 * 2**30, "10GiB"),
        ("10GB", 10**10, "10GB"),
        ("3900M", 3900 * 2**20, "3900MiB"),
        ("1K", 1024, "1KiB"),
        ("5kB", 5000, "5kB"),
        ("5KB", 5000, "5kB"),
        ("2T", 2**41, "2TiB"),
        ("3TB", 3 * 10**12, "3TB"),
        ("1536", 1536, "1536"),
        ("9223372036854775807", MAX_SIZE_BYTES, "9223372036854775807"),
    ],
)
def test_good_sizes(text: str, n_bytes: int, canonical: str) -> None:
    assert parse_size(text) == n_bytes
    assert format_size(n_bytes) == canonical
    assert parse_size(canonical) == n_bytes


BAD = [
    *["", "-1", "+1", "1.5GiB", "10 GiB", "10gib", "10G iB", "GiB", "010", "1_000", "0x10", "1e9"],
    *["\N{ARABIC-INDIC DIGIT THREE}", "1\n", "1PiB", "99999999999999999999", "off", "1b", "1B"],
]


@pytest.mark.parametrize("text", BAD)
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a size such as") as caught:
        parse_size(text)
    assert caught.value.reason == "bad-size"
    assert "KiB" in caught.value.next_step


@pytest.mark.parametrize("text", ["9223372036854775808", "8388608TiB"])
def test_a_size_no_database_could_hold_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is over 9223372036854775807 bytes"):
        parse_size(text)


@given(st.integers(0, MAX_SIZE_BYTES))
def test_a_size_survives_being_written(n_bytes: int) -> None:
    assert parse_size(format_size(n_bytes)) == n_bytes


@given(st.text() | st.text("0123456789kKMGTiB"))
def test_any_text_is_a_size_or_an_error(text: str) -> None:
    try:
        n_bytes = parse_size(text)
    except ConfigError:
        return
    assert parse_size(format_size(n_bytes)) == n_bytes


def test_a_negative_size_is_not_written() -> None:
    with pytest.raises(ValueError, match="not negative"):
        format_size(-1)
