from __future__ import annotations

import pytest

from appliance.config.keys import NAME, ORIGIN, PATH
from appliance.config.kinds import Count, Duration, Flag, Kind, Number, Size, Url, Word
from appliance.config.sync_keys import AT_LEAST_A_SECOND
from appliance.config.yaml_scalars import ScalarValue
from appliance.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (Flag(), True, True),
        (Count(1, 5), 5, 5),
        (Number(0, 10), 7, 7.0),
        (Number(0, 10), 9.5, 9.5),
        (NAME, "a.b_c-9", "a.b_c-9"),
        (ORIGIN, "rekor.example.org - 26057", "rekor.example.org - 26057"),
        (Word((1, 2)), 2, 2),
        (Word(("file", "smtp")), "smtp", "smtp"),
        (Duration(), "90m", "1h30m"),
        (Size(), 1024, 1024),
        (Size(), "1KiB", 1024),
        (Url(), "https://Log.Example.org/", "https://log.example.org"),
        (Url(), "http://127.0.0.1:3000/a//b/", "http://127.0.0.1:3000/a//b"),
        (Url(), "http://[::1]:65535", "http://[::1]:65535"),
        (Url(("smtp",)), "smtp://mail:25", "smtp://mail:25"),
        (Url(("smtp",), named=("smtp",)), "smtp://me@x.org@Mail:25", "smtp://me@x.org@mail:25"),
    ],
)
def test_good_values(kind: Kind, value: ScalarValue, read: ScalarValue) -> None:
    assert kind.read(value) == read
    assert type(kind.read(value)) is type(read)
    assert kind.read(read) == read


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Flag(), "true", "expected true or false, got 'true'"),
        (Flag(), 1, "expected true or false, got 1"),
        (Flag(), None, "expected true or false, got nothing"),
        (Count(1, 5), 0, "expected a whole number from 1 to 5, got 0"),
        (Count(1, 5), 6, "expected a whole number from 1 to 5, got 6"),
        (Count(1, 5), True, "expected a whole number from 1 to 5, got true"),
        (Count(1, 5), 2.0, "expected a whole number from 1 to 5, got 2.0"),
        (Count(1, 5), "2", "expected a whole number from 1 to 5, got '2'"),
        (Number(0, 10), 10.5, "expected a number from 0 to 10, got 10.5"),
        (Number(0, 10), False, "expected a number from 0 to 10, got false"),
        (Number(0, 10), "5", "expected a number from 0 to 10, got '5'"),
        (NAME, 7, f"expected {NAME.expected}, got 7"),
        (NAME, "../up", f"expected {NAME.expected}, got '../up'"),
        (PATH, "a\nb", "expected a path, got 'a\\nb'"),
        (PATH, "", "expected a path, got ''"),
        (ORIGIN, " x", f"expected {ORIGIN.expected}, got ' x'"),
        (Word((1, 2)), 3, "expected 1 or 2, got 3"),
        (Word((1, 2)), True, "expected 1 or 2, got true"),
        (Word((1, 2)), "1", "expected 1 or 2, got '1'"),
        (Duration(), 300, "300 has no unit"),
        (Duration(), 1.5, "1.5 has no unit"),
        (Duration(), -300, "'-300' is negative"),
        (Duration(), True, f"expected {Duration().expected}, got true"),
        (Duration(), None, f"expected {Duration().expected}, got nothing"),
        (AT_LEAST_A_SECOND, "999ms", "expected 1s or more, got 999ms"),
        (Size(), -1, f"expected {Size().expected}, got '-1'"),
        (Size(), 1.5, f"expected {Size().expected}, got 1.5"),
        (Size(), None, f"expected {Size().expected}, got nothing"),
        (Url(), 5, "expected a URL such as https://host.example/path, got 5"),
        (Url(), "https://user:pw@host/", "a URL here holds no user name or password"),
        (
            Url(("smtp",), named=("smtp",)),
            "smtp://user:pw@host",
            "a URL here holds no user name or password",
        ),
        (Url(named=("smtp",)), "https://user@host/", "a URL here holds no user name or password"),
    ],
)
def test_bad_values(kind: Kind, value: ScalarValue, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.read(value)
    assert caught.value.message == message


BAD_URLS = [
    *["log.example.org", "ftp://host", "https://", "https:///path", "https://host:0", "http://-a"],
    *["https://host:65536", "https://host/?q", "https://host/#f", "https://host/a b", "HTTP://h"],
    *["https://h\u00f6st", "https://host\n", "https://[::1", "https://a..", "//host", "https://h:"],
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_urls(url: str) -> None:
    with pytest.raises(ConfigError, match="expected a URL such as https://"):
        Url().read(url)
