"""--base says where an export starts; the older options say the same."""

from __future__ import annotations

import pytest

from tests.transfer.sites import INSIDE, OUTSIDE, Sites


@pytest.fixture
def grown(sites: Sites) -> Sites:
    for number in range(3):
        sites.grow(10)
        sites.json(OUTSIDE, "export", "--output", sites.stick(f"{number}.tar"))
    sites.json(INSIDE, "import", sites.stick("0.tar"), "--receipt-dir", sites.directory)
    [receipt] = sites.directory.glob("receipt-*.note")
    receipt.rename(sites.stick("receipt.note"))
    sites.grow(10)
    return sites


def base_of(sites: Sites, *words: object) -> int | None:
    output = sites.stick("next.tar")
    words = tuple(map(str, words))
    done = sites.json(OUTSIDE, "export", "--dry-run", "--output", output, *words)  # type: ignore[arg-type]
    found = done["logs"][0]["baseSize"]
    return None if found is None else int(found)


def test_every_kind_of_base(grown: Sites) -> None:
    assert base_of(grown, "--base", "all") is None
    assert base_of(grown, "--base", "20") == base_of(grown, "--since-size", "20") == 20
    receipt = grown.stick("receipt.note")
    assert base_of(grown, "--base", f"receipt:{receipt}") == 10
    assert base_of(grown, "--since-receipt", receipt) == 10
    assert base_of(grown, "--base", "exports:1") == base_of(grown, "--overlap", "1") == 30
    grown.json(OUTSIDE, "receipt", "accept", receipt)
    assert base_of(grown, "--base", f"site:{INSIDE}") == base_of(grown, "--to", INSIDE) == 10


def test_a_file_named_like_a_size_is_not_read(
    grown: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    (grown.directory / "20").write_bytes(grown.stick("receipt.note").read_bytes())
    monkeypatch.chdir(grown.directory)
    assert base_of(grown, "--base", "20") == 20


@pytest.mark.parametrize("wrong", ["", "everything", "-1", "receipt:", "site:", "exports:0", "1e3"])
def test_a_wrong_base_says_what_is_expected(grown: Sites, wrong: str) -> None:
    words = ("export", "--output", grown.stick("x.tar"), "--base", wrong)
    error = grown.json(OUTSIDE, *words, expect=2)
    assert "receipt:FILE, site:NAME or exports:K" in error["message"]


def test_two_bases_exclude_each_other(grown: Sites) -> None:
    words = ("export", "--output", grown.stick("x.tar"), "--base", "20", "--full")
    assert "exclude each other" in grown.json(OUTSIDE, *words, expect=2)["message"]
