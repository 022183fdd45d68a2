"""attestor report: one page, its data, its proofs, and what is done with a page that lies."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.divergence.report import verified_page
from appliance.errors import MalformedError, VerificationError
from appliance.report.page import data_of, page, page_maker
from appliance.report.page_check import page_checks
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
from tests.verify.test_verify import Site


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return told_site(tmp_path, capsys)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The report of one home for all tests that only change it."""

    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        return every_kind(report_of(told_site(tmp_path_factory.mktemp("kept"), Captured(out, err))))


def test_a_report_says_what_is_here_and_proves_it(site: Site) -> None:
    data = report_of(site)
    (log,) = data["logs"]
    assert (log["treeSize"], [one["treeSize"] for one in log["heads"]]) == (
        622,
        [301, 321, 621, 622],
    )
    assert len(log["consistency"]) == 3 and len(log["entries"]) == 3 and log["unproven"] == []
    assert data["verdictCounts"] == {"verified": 1, "notVerified": 0}
    assert data["verdicts"][0]["proof"]["index"] == site.index
    assert [one["evidence"] for one in data["contradictions"]] == [1]
    assert log["quarantine"]["lastCommonSize"] == 60
    found = page_checks(data)
    assert len(found) == 7 and all(one.is_good for one in found), found


def test_every_kind_of_key_is_checked(kept: Data) -> None:
    found = page_checks(kept)
    assert len(found) == 7 + 5 * 5 and all(one.is_good for one in found), found


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_was_changed_in_the_data_is_noticed(kept: Data, name: str) -> None:
    found = page_checks(changed(kept, MUTATIONS[name]))
    assert any(one.is_good is False for one in found), [one.why for one in found]


def test_there_are_forty_mutations() -> None:
    assert len(MUTATIONS) >= 40


def test_a_page_is_written_verified_and_journalled(site: Site, tmp_path: Path) -> None:
    to = tmp_path / "report.html"
    code, out, err = site.run("report", "--html", to)
    digest = sha256(to.read_bytes()).hexdigest()
    assert (code, err) == (0, "") and digest in out
    _, told, _ = site.run("journal", "list", "--event", "report.written", "--json")
    (line,) = json.loads(told)["data"]["lines"]
    assert line["details"] == {"file": "report.html", "sha256": digest}
    code, out, err = site.run("report", "verify", to, "--json")
    answer = json.loads(out)["data"]
    assert (code, err) == (0, "") and all(one["good"] for one in answer["checks"])
    assert answer["keys"] == [
        {"name": "log.example", "fingerprint": sha256(site.log.key.spki).hexdigest()}
    ]
    # The data in it is what --json prints, and the page is a function of it.
    data = data_of(to.read_bytes())
    assert page(data) == to.read_bytes()
    assert data["logs"] == report_of(site)["logs"]


def test_a_page_that_was_changed_is_refused(site: Site, tmp_path: Path) -> None:
    to = tmp_path / "report.html"
    assert site.run("report", "--html", to)[0] == 0
    raw = to.read_bytes()

    def refused(text: bytes) -> str:
        to.write_bytes(text)
        code, out, _ = site.run("report", "verify", to, "--json")
        assert code == 3
        reason: str = json.loads(out)["error"]["reason"]
        return reason

    assert refused(raw.replace(b"Quarantined", b"Well")) == "report-changed"
    assert refused(raw.replace(b'"use strict"', b'"use  strict"')) == "report-changed"
    assert refused(raw.replace(b"default-src 'none'", b"default-src *")) == "report-changed"
    lies = changed(data_of(raw), MUTATIONS["an entry's body"])
    assert refused(with_data(raw, lies)) == "report-check"
    assert refused(b"<html></html>") == "not-a-report"
    assert refused(raw.replace(b'"format":"attestor-report', b'"format":"other')) == "not-a-report"
    short = {key: value for key, value in data_of(raw).items() if key != "queue"}
    assert refused(with_data(raw, short)) == "report-data"


@pytest.mark.parametrize(
    "data",
    [{"logs": [{}]}, {"logs": 5}, {"verdicts": [5]}, {"contradictions": [None]}, {"site": "x"}],
)
def test_a_page_of_another_shape_is_no_report(site: Site, tmp_path: Path, data: Data) -> None:
    to = tmp_path / "report.html"
    assert site.run("report", "--html", to)[0] == 0
    to.write_bytes(with_data(to.read_bytes(), {"format": "attestor-report/v1", **data}))
    code, out, _ = site.run("report", "verify", to, "--json")
    assert (code, json.loads(out)["error"]["reason"]) == (3, "not-a-report")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each value in JSON's types; of a list, those in its first item."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, one in value.items():
            yield from places(one, (*path, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def test_no_wrong_value_anywhere_in_a_page_is_more_than_a_page_refused(kept: Data) -> None:
    data = {**kept, "logs": kept["logs"][:1]}
    raw, wrongs = page(data), list[Any]([None, 5, 0, [], {}, ""])
    for *path, last in places(data):
        for wrong in wrongs:
            copied = copy.deepcopy(data)
            inside: Any = copied
            for one in path:
                inside = inside[one]
            inside[last] = wrong
            where = ([*path, last], wrong)
            try:
                made = page(copied)
            except MalformedError:
                made = with_data(raw, copied)
            try:
                errors = verified_page(Path("report.html"), made).errors
            except MalformedError as error:
                assert error.reason == "not-a-report", where
            else:
                assert all(isinstance(one, VerificationError) for one in errors), where


def test_a_page_of_another_version_is_checked_and_said_to_be_one(
    site: Site, tmp_path: Path
) -> None:
    to = tmp_path / "report.html"
    to.write_bytes(page({**report_of(site), "version": "9.9.9"}).replace(b"<h1>", b"<h1 >"))
    code, out, _ = site.run("report", "verify", to, "--json")
    assert code == 5 and json.loads(out)["error"]["reason"] == "other-version"


@pytest.mark.parametrize("said", [b"", b' data-maker="%b"' % (b"ab" * 32)])
def test_a_page_of_another_build_of_this_version_is_no_proven_no(
    site: Site, tmp_path: Path, said: bytes
) -> None:
    to = tmp_path / "report.html"
    ours = b' data-maker="%b"' % page_maker().encode()
    raw = page(report_of(site))
    assert raw.count(ours) == 1
    to.write_bytes(raw.replace(ours, said).replace(b"<h1>", b"<h1 >"))
    code, out, _ = site.run("report", "verify", to, "--json")
    error = json.loads(out)["error"]
    assert (code, error["reason"]) == (5, "other-version")
    assert "another build of Attestor" in error["message"]
    to.write_bytes(page(report_of(site), "ab" * 32))  # that makes the same
    assert site.run("report", "verify", to)[0] == 0


def test_private_data_is_left_out_unless_it_is_asked_for(site: Site) -> None:
    text = json.dumps(report_of(site))
    assert "secret-team" not in text and "Jane Doe" not in text and str(site.directory) not in text
    everything = report_of(site, "--redact", "none")
    assert everything["leftOut"] == []
    text = json.dumps(everything)
    assert "secret-team" in text and "Jane Doe" in text and str(site.directory) in text
    some = report_of(site, "--redact", "custody,paths")
    assert some["leftOut"] == ["paths", "custody"] and some["custody"] == []
    code, _, err = site.run("report", "--redact", "weather")
    assert code == 2 and "--redact" in err


def test_hostile_text_is_only_text(site: Site) -> None:
    data = report_of(site, "--redact", "none")
    assert HOSTILE in json.dumps(data, ensure_ascii=False)
    data["custody"][0]["who"] = "\u202eevil\x1b[31m"
    raw = page(data).decode()
    assert raw.count("<script") == 2 and raw.count("</script") == 2 and "<img" not in raw
    assert "onerror" in raw and "\u202e" not in raw and "\x1b" not in raw
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', raw)
    assert len(policy) == 1 and policy[0].startswith("default-src 'none'; script-src 'sha256-")
    assert not re.search(r'(src|href)="(?!#)', raw)  # nothing is fetched from anywhere


def test_an_empty_home_has_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.cli.homes import Home

    home = Home(tmp_path / "home", capsys)
    home.json("report", "--html", tmp_path / "empty.html")
    assert home.json("report", "verify", tmp_path / "empty.html")["checks"] == []
    assert home.run("report")[0] == 0


def test_an_evidence_pack_has_a_page_of_its_own(site: Site, tmp_path: Path) -> None:
    assert site.run("alerts", "export", "1", "--output", tmp_path / "pack")[0] == 0
    code, out, err = site.run("report", "verify", tmp_path / "pack" / "report.html", "--json")
    (check,) = json.loads(out)["data"]["checks"]
    assert (code, err, check["good"]) == (0, "", True) and "another root" in check["why"]
