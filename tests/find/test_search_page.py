"""entries search --html: a page that proves its hits, says what it cannot, and hides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest

from appliance.errors import MalformedError
from appliance.report.page import data_of, page
from appliance.report.page_check import page_checks
from appliance.runs import report as report_run
from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf
from tests.report.found import (
    CLAIMS,
    MUTATIONS,
    WHO,
    WIDE,
    found_data,
    found_home,
    no_text,
    page_of,
)
from tests.report.pages import HOSTILE, Captured, Data, changed


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return found_home(tmp_path / "home", capsys)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    """The page of one answer for all tests that only change it."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        yield found_data(tmp_path_factory.mktemp("kept"), Captured(out, err))


def test_a_page_has_the_answer_and_proves_each_hit(home: MirroredHome, tmp_path: Path) -> None:
    to = tmp_path / "found.html"
    answer = home.json("entries", "search", *WIDE, "--html", to)
    raw = to.read_bytes()
    assert answer["sha256"] == sha256(raw).hexdigest() and answer["output"] == str(to)
    data = data_of(raw)
    asked = {"identity": ["."], "issuer": ["."]}
    told = {name: one for name, one in answer.items() if name not in ("output", "sha256")}
    assert data["search"] == {"query": asked, **told}
    assert [hit["index"] for hit in told["hits"]] == [300, 301, 302, 303]
    found = page_checks(data)
    assert [one.is_good for one in found] == [True] * (2 + 4 + 1), found
    assert found[-1].why == "digests, keys, certificates and names of 4"
    assert home.json("report", "verify", to)["sha256"] == answer["sha256"]
    [line] = home.json("journal", "list", "--event", "report.written")["lines"]
    assert line["details"] == {"file": "found.html", "sha256": answer["sha256"]}
    text = raw.decode()
    assert "Not verified" in text and "4 entries match" in text and CLAIMS["12"] in text
    # Nothing of this home but its name: no directory, no tenant.
    assert str(tmp_path) not in text


def test_what_was_not_looked_at_is_on_the_page(home: MirroredHome, tmp_path: Path) -> None:
    nobody, to = ("--identity-exact", "nobody@example.com"), tmp_path / "found.html"
    text = page_of(home, to, *nobody).decode()
    assert "Not logged" in text and "Not everything" not in text
    home.log.grow([leaf(WHO, b"new")] * 300)
    home.sync(0)
    code, _, err = home.run("entries", "search", *nobody, "--html", to)
    assert code == 5 and "not-indexed" in err
    text = to.read_text()
    assert "whether it is logged is not known" in text and "256 to 603: not-indexed" in text
    assert home.run("report", "verify", to)[0] == 0


def test_a_page_of_more_hits_than_it_holds_is_refused(
    home: MirroredHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "found.html"
    assert report_run.MAX_HITS == 2500
    monkeypatch.setattr(report_run, "MAX_HITS", 3)
    error = home.json("entries", "search", *WIDE, "--html", to, expect=8)
    assert error["reason"] == "page-too-large" and "--limit 3" in error["next"]
    assert not to.exists()
    code, _, err = home.run("entries", "search", *WIDE, "--html", to, "--limit", "3")
    assert code == 0 and "more hits than --limit" in err
    assert "there are more than were asked for" in to.read_text()


@pytest.mark.parametrize("more", [("--csv",), ("--jsonl",), ("--group-by", "log")])
def test_a_page_goes_with_no_other_form(
    home: MirroredHome, tmp_path: Path, more: tuple[str]
) -> None:
    code, _, err = home.run("entries", "search", *WIDE, "--html", tmp_path / "x", *more)
    assert code == 2 and "--html goes with neither" in err


@pytest.mark.parametrize("name", MUTATIONS)
def test_whatever_is_changed_of_a_hit_is_noticed(kept: Data, name: str) -> None:
    try:
        found = page_checks(changed(kept, MUTATIONS[name]))
    except MalformedError as error:
        assert error.reason == "not-a-report", error
    else:
        assert any(one.is_good is False for one in found), [one.why for one in found]


def test_a_name_that_is_no_text_is_found_in_its_certificate(
    home: MirroredHome, tmp_path: Path
) -> None:
    """Bytes that are no UTF-8 stand as \\xff in a name; and a name may have such letters itself."""
    names = ["d\\xffv@example.com", "x\\xfe.example/y"]
    home.log.grow(
        [no_text("dEv@example.com", b"dEv", b"d\xffv"), leaf("https://" + names[1], b"2")]
    )
    home.sync(0)
    home.json("index", "build")
    raw = page_of(home, tmp_path / "found.html", "--identity", r"\\x")
    data = data_of(raw)
    identities = [hit["signers"][0]["identities"] for hit in data["search"]["hits"]]
    assert identities == [[names[0]], ["https://" + names[1]]]
    assert all(one.is_good for one in page_checks(data)), page_checks(data)
    lied = changed(
        data,
        lambda d: d["search"]["hits"][0]["signers"][0].update(identities=["d\\xfev@example.com"]),
    )
    assert page_checks(lied)[-1].is_good is False


def test_hostile_names_are_only_text(home: MirroredHome, tmp_path: Path) -> None:
    home.log.grow([leaf(f"https://x.example/{HOSTILE}", b"1", claims={"14": HOSTILE})])
    home.sync(0)
    home.json("index", "build")
    raw = page_of(home, tmp_path / "found.html", "--identity", "script").decode()
    assert raw.count("<script") == 2 and "<img" not in raw and "onerror" in raw
    assert home.run("report", "verify", tmp_path / "found.html")[0] == 0
    assert page(data_of(raw.encode())) == raw.encode()
