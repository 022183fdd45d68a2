"""The report opened from file:// in a real Chromium: green as it is, red whatever is changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from appliance.report.page import data_of, page
from appliance.report.page_check import page_checks
from tests.find.logged import leaf
from tests.report import found
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


# Tables that reach beyond their box, and words of a cell (no digest, no time) on several lines.
CUT = """[...document.querySelectorAll('.wide')].filter(one => one.scrollWidth > one.clientWidth)
    .map(one => one.textContent.slice(0, 80))"""
BROKEN = """[...document.querySelectorAll('td:not(:has(code))')]
    .flatMap(cell => [...cell.childNodes])
    .filter(node => node.nodeType == Node.TEXT_NODE && /^[A-Za-z]{1,12}$/.test(node.data.trim()))
    .filter(node => {
        const range = document.createRange();
        range.selectNodeContents(node);
        return range.getClientRects().length > 1;
    }).map(node => node.data)"""


@pytest.mark.parametrize("width", [360, 500, 720, 880, 1010])
def test_no_table_is_cut_and_no_word_in_it_is_broken(
    browser: Browser, data: Data, file: Path, width: int
) -> None:
    file.write_bytes(page(data))
    browser.open(file.as_uri())
    browser.photograph(file.with_suffix(".png"), width=width)
    tables = "document.querySelectorAll('table').length"
    assert browser.value(tables) > 5
    browser.value("document.querySelectorAll('pre').forEach(one => one.remove())")  # notes scroll
    assert browser.value(f"JSON.stringify({CUT})") == "[]"
    assert browser.value(f"JSON.stringify({BROKEN})") == "[]"


@pytest.mark.parametrize("width", [360, 1000])
def test_the_page_fits_its_screen(browser: Browser, data: Data, file: Path, width: int) -> None:
    file.write_bytes(page(data))
    browser.open(file.as_uri())
    for dark in (False, True):
        browser.photograph(file.with_suffix(".png"), width=width, dark=dark)
        wide = browser.value("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels on a screen of {width}"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Data:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        return found.found_data(tmp_path_factory.mktemp("searched"), Captured(out, err))


def test_every_check_of_what_a_search_found_is_green(
    browser: Browser, searched: Data, file: Path
) -> None:
    file.write_bytes(page(searched))
    browser.open(file.as_uri())
    checks = browser.checks()
    assert browser.state() == "good", checks
    told = [f"\u2713 {one.what}: {one.why}" for one in page_checks(searched)]
    assert [text for _, text in checks][1:] == told and len(told) == 7
    assert browser.requests() == [] and browser.complaints() == []


@pytest.mark.parametrize("name", found.MUTATIONS)
def test_whatever_is_changed_of_a_hit_is_red(
    browser: Browser, searched: Data, file: Path, name: str
) -> None:
    raw = page(searched)
    file.write_bytes(with_data(raw, changed(searched, found.MUTATIONS[name])))
    browser.open(file.as_uri())
    assert browser.state() == "bad", browser.checks()


def test_names_that_do_harm_are_text_and_those_that_are_no_text_are_found(
    browser: Browser, tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = found.found_home(tmp_path / "home", capsys)
    hostile = leaf(f"https://x.example/{HOSTILE}", b"1", claims={"14": HOSTILE})
    home.log.grow([hostile, found.no_text("dEv@example.com", b"dEv", b"d\xffv")])
    home.sync(0)
    home.json("index", "build")
    raw = found.page_of(home, file, "--identity", "script|ffv")
    assert len(data_of(raw)["search"]["hits"]) == 2
    browser.open(file.as_uri())
    assert browser.state() == "good", browser.checks()
    assert browser.requests() == [] and browser.complaints() == []
    assert browser.value("document.querySelectorAll('img, script[src], iframe').length") == 0
    assert HOSTILE in str(browser.value("document.body.textContent"))


def test_without_javascript_it_says_that_nothing_was_verified(
    browser: Browser, searched: Data, file: Path
) -> None:
    file.write_bytes(page(searched))
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.ask("Page.navigate", url=file.as_uri())
        end = time.monotonic() + 60
        while browser.value("document.readyState") != "complete" and time.monotonic() < end:
            time.sleep(0.05)
        assert str(browser.value("location.href")) == file.as_uri()
        banner = str(browser.value("document.getElementById('banner').textContent"))
        shown = str(browser.value("document.body.innerText"))
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert banner.startswith("Not verified:") and browser.checks() == []
    assert found.WHO in shown and found.CLAIMS["12"] in shown


def test_two_thousand_five_hundred_hits_are_verified(
    browser: Browser, tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it took is printed: the load of the machine decides it."""
    home = found.found_home(tmp_path / "home", capsys)
    home.log.grow([leaf(found.WHO, b"%d" % at) for at in range(2498)])
    home.sync(0)
    raw = found.page_of(home, file, "--identity-exact", found.WHO, "--rescan", "--limit", "2500")
    assert len(data_of(raw)["search"]["hits"]) == 2500
    browser.open(file.as_uri())
    checks = browser.checks()
    assert browser.state() == "good" and len(checks) == 2504
    took = browser.value("performance.getEntriesByName('checks')[0].duration")
    with capsys.disabled():
        print(f"\n{len(raw):,} bytes, {len(checks)} checks, {took / 1000:.2f} s")  # noqa: T201


@pytest.mark.parametrize("width", [360, 1000])
def test_the_page_of_a_search_fits_its_screen(
    browser: Browser, searched: Data, file: Path, width: int
) -> None:
    file.write_bytes(page(searched))
    browser.open(file.as_uri())
    browser.photograph(file.with_suffix(".png"), width=width)
    wide = browser.value("document.documentElement.scrollWidth")
    assert wide <= width, f"{wide} pixels on a screen of {width}"
