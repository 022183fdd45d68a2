"""The report opened from file:// in a real Chromium: green as it is, red whatever is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from appliance.report.page import page
from appliance.report.page_check import page_checks
from tests.report.browser import Browser, browsing, chromium
from tests.report.pages import (
    HOSTILE,
    MUTATIONS,
    Captured,
    Data,
    changed,
    every_kind,
    report_of,
    told_site,
    with_data,
)

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium()
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        site = told_site(tmp_path_factory.mktemp("site"), Captured(out, err))
        return every_kind(report_of(site, "--redact", "none"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def test_every_check_of_the_page_is_green_and_nothing_is_asked_for(
    browser: Browser, data: Data, file: Path
) -> None:
    file.write_bytes(page(data))
    browser.open(file.as_uri())
    checks = browser.checks()
    assert browser.state() == "good", checks
    assert [name for name, _ in checks] == ["good"] * (len(page_checks(data)) + 1)
    # Python found the same, in the same words.
    told = [f"\u2713 {one.what}: {one.why}" for one in page_checks(data)]
    assert [text for _, text in checks][1:] == told
    assert browser.requests() == [] and browser.complaints() == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_whatever_is_changed_in_the_data_is_red(
    browser: Browser, data: Data, file: Path, name: str
) -> None:
    raw = page(data)
    file.write_bytes(with_data(raw, changed(data, MUTATIONS[name])))
    browser.open(file.as_uri())
    assert browser.state() == "bad", browser.checks()
    (digest, *rest) = browser.checks()
    assert digest[0] == "good"  # whoever lies makes it anew: something else has to notice
    assert "bad" in [one for one, _ in rest]


def test_data_whose_digest_was_not_made_anew_is_red(
    browser: Browser, data: Data, file: Path
) -> None:
    file.write_bytes(page(data).replace(b'"health":"', b'"health":"NOT'))
    browser.open(file.as_uri())
    assert browser.state() == "bad" and browser.checks()[0][0] == "bad"


def test_hostile_text_does_nothing(browser: Browser, data: Data, file: Path) -> None:
    hostile = {**data, "site": HOSTILE}
    hostile["logs"] = [{**one, "origin": HOSTILE} for one in data["logs"]]
    hostile["alerts"] = [{**one, "type": HOSTILE, "origin": HOSTILE} for one in data["alerts"]]
    hostile["verdicts"] = [{**one, "artifact": HOSTILE} for one in data["verdicts"]]
    file.write_bytes(page(hostile))
    browser.open(file.as_uri())
    assert browser.state() == "bad"  # the notes are of other logs
    assert browser.requests() == [] and browser.complaints() == []
    assert browser.value("document.querySelectorAll('img, script[src], iframe').length") == 0
    assert browser.value("document.querySelectorAll('script').length") == 2
    assert HOSTILE in str(browser.value("document.body.textContent"))


def test_a_script_that_is_put_in_does_not_run(browser: Browser, data: Data, file: Path) -> None:
    raw = page(data)
    file.write_bytes(raw.replace(b"<h1>", b"<script>document.title = 'in'</script><h1>", 1))
    browser.open(file.as_uri())
    assert browser.value("document.title") != "in"
    assert any("Content Security Policy" in one for one in browser.complaints())


@pytest.mark.parametrize("width", [360, 1000])
def test_the_page_fits_its_screen(browser: Browser, data: Data, file: Path, width: int) -> None:
    file.write_bytes(page(data))
    browser.open(file.as_uri())
    for dark in (False, True):
        browser.photograph(file.with_suffix(".png"), width=width, dark=dark)
        wide = browser.value("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels on a screen of {width}"
