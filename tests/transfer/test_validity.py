"""When a transfer bundle may be imported: an embargo, an end, and two clocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.times import utc
from tests.transfer.sites import INSIDE, OUTSIDE, Sites

DAY = 24 * 60 * 60


def exported(sites: Sites, *options: str) -> Path:
    sites.grow(100)
    sites.json(OUTSIDE, "export", *options, "--output", sites.stick("stick.tar"))
    return sites.stick("stick.tar")


def test_a_bundle_that_expired_is_refused_and_one_second_before_it_is_not(sites: Sites) -> None:
    stick = exported(sites, "--expires", "14d")
    written = sites.now
    assert sites.json(INSIDE, "inspect", stick)["expires"] == utc(written + 14 * DAY)
    sites.now = written + 14 * DAY - 2  # the next command is a second later
    sites.json(INSIDE, "import", stick, "--dry-run")
    sites.now = written + 14 * DAY
    for more in ([], ["--dry-run"], ["--insecure-unsigned"]):
        error = sites.json(INSIDE, "import", stick, *more, expect=8)
        assert error["reason"] == "expired"
        assert utc(written + 14 * DAY) in error["message"] and utc(sites.now) in error["message"]
        assert "clock" in error["message"]
    assert sites.size(INSIDE) == 0


def test_a_bundle_is_refused_before_its_time(sites: Sites) -> None:
    begins = sites.now + DAY
    stick = exported(sites, "--not-before", utc(begins))
    text = sites.text(INSIDE, "inspect", stick)
    assert f"  valid   from {utc(begins)}\n" in text
    sites.now = begins - 2
    error = sites.json(INSIDE, "import", stick, expect=8)
    assert error["reason"] == "not-yet-valid" and utc(begins) in error["message"]
    sites.json(INSIDE, "import", stick)
    assert sites.size(INSIDE) == 100


def test_an_export_that_expires_is_made_again_by_the_same_command(sites: Sites) -> None:
    stick = exported(sites, "--expires", "1h")
    before = stick.read_bytes()
    again = sites.json(OUTSIDE, "export", "--expires", "1h", "--output", stick)
    assert again["already"] and stick.read_bytes() == before
    error = sites.json(OUTSIDE, "export", "--expires", "2h", "--output", stick, expect=6)
    assert error["reason"] == "file-exists"


def test_without_limits_nothing_is_said_of_them(sites: Sites) -> None:
    stick = exported(sites)
    found = sites.json(INSIDE, "inspect", stick)
    assert (found["notBefore"], found["expires"]) == (None, None)
    assert "valid" not in sites.text(INSIDE, "inspect", stick)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--expires", "0s"], "not after now"),
        (["--expires", "2020-01-01T00:00:00Z"], "not after now"),
        (["--not-before", "2d", "--expires", "1d"], "not after the time it may be used from"),
    ],
)
def test_what_nobody_could_import_is_not_written(
    sites: Sites, options: list[str], wanted: str
) -> None:
    sites.grow(100)
    stick = sites.stick("stick.tar")
    error = sites.json(OUTSIDE, "export", *options, "--output", stick, expect=2)
    assert wanted in error["message"] and "--expires" in error["next"]
    assert not stick.exists()


@pytest.mark.parametrize("text", ["14", "tomorrow", "2026-02-30T00:00:00Z", "2026-01-31", "-1d"])
def test_a_time_that_is_none_is_refused_with_both_spellings(sites: Sites, text: str) -> None:
    sites.grow(100)
    stick = sites.stick("stick.tar")
    error = sites.json(OUTSIDE, "export", f"--expires={text}", "--output", stick, expect=2)
    assert "2026-01-31T23:59:59Z" in error["message"] and "14d" in error["message"]
    assert text in error["message"]
