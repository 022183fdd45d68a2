"""Patterns over what strangers wrote end in time, and what they cannot tell is said."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from appliance.jobs.find.criteria import Criteria, Screen
from appliance.jobs.find.patterns import Matcher, OverTimeError
from appliance.rekor.entry_facts import read_entry
from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf
from tests.find.test_search import find, indices, logged

SLOW = "(a+)+$"
HOSTILE = "a" * 40 + "!"


def test_a_catastrophic_pattern_ends_in_time_and_is_undecided() -> None:
    pattern = Matcher(SLOW, 0.02)
    began = time.monotonic()
    with pytest.raises(OverTimeError, match=r"did not end within 0\.02 s"):
        pattern.search(HOSTILE)
    assert time.monotonic() - began < 1
    assert pattern.search("aaa") and not pattern.search("b")


def test_one_hostile_name_spoils_no_other() -> None:
    texts = ["aaa", HOSTILE, *("b", "a") * 50]
    assert list(Matcher(SLOW, 0.02).search_all(texts)) == [True, None, *(False, True) * 50]


def test_a_pattern_that_never_ends_is_spared_more_of_the_same() -> None:
    pattern = Matcher(SLOW, 0.01)
    began = time.monotonic()
    answers = list(pattern.search_all([f"{number}{HOSTILE}" for number in range(2000)]))
    assert answers == [None] * 2000
    assert time.monotonic() - began < 5
    assert pattern.search("ba")


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def test_patterns_find_by_the_index_what_a_rescan_finds(home: MirroredHome) -> None:
    names = ["release@example.com", "evil-release@example.com.attacker.example", "x@other.example"]
    names.append("https://github.com/org/app@refs/heads/main")
    claims = {"14": "refs/heads/main"}
    logged(home, *(leaf(one, one.encode(), claims=claims) for one in names))
    home.json("index", "build")
    for arguments, expected in (
        (["--identity", r"release@example\.com"], [0, 1]),
        (["--identity", r"^release@example\.com$"], [0]),
        (["--identity", "(?i)EXAMPLE"], [0, 1, 2]),
        (["--identity", "^https://github[.]com/org/"], [3]),
        (["--identity", "nobody", "--identity-exact", names[2]], [2]),
        (["--issuer", "^https://issuer[.]example$", "--identity", "x@"], [2]),
        (["--issuer", "elsewhere"], []),
        (["--identity", "x@", "--oid", "source-repository-ref~^refs/heads/"], [2]),
        (["--identity", "x@", "--oid", "source-repository-ref~^refs/tags/"], []),
    ):
        assert indices(find(home, *arguments)) == expected, arguments
        assert indices(find(home, *arguments, "--rescan")) == expected, arguments
    assert home.run("entries", "search", "--identity", "(?=a)")[0] == 2


def test_an_entry_that_a_pattern_cannot_decide_forbids_not_logged(home: MirroredHome) -> None:
    logged(home, leaf(f"https://{HOSTILE}", b"1"), leaf("b@example.com", b"2"))
    home.json("index", "build")
    for rescan in ((), ("--rescan",)):
        error = find(home, "--identity", "(a+)+$", *rescan, expect=5)
        assert error["reason"] == "search-incomplete"
        assert "cannot be read whole: 0" in error["message"]


def test_a_name_with_a_nul_is_found_through_the_index(home: MirroredHome) -> None:
    name = "https://x.example/before\0after"
    logged(home, leaf(name, b"1"), leaf("https://x.example/before", b"2"))
    home.json("index", "build")
    for rescan in ((), ("--rescan",)):
        assert indices(find(home, "--identity", "after", *rescan)) == [0]
        assert indices(find(home, "--identity", "x.example/before", *rescan)) == [0, 1]


def test_many_conditions_at_once_leave_out_only_what_does_not_match() -> None:
    issuer = "https://issuer.example"
    several = [
        Criteria(identity_patterns=(SLOW,), pattern_seconds=0.01),
        Criteria(identity_patterns=("^https://a[.]example/", "x$"), pattern_seconds=0.01),
        Criteria(identity_patterns=("one@",), issuer_patterns=("^nobody",), pattern_seconds=0.01),
        Criteria(identities=("one@example.com",), pattern_seconds=0.01),
        Criteria(prefixes=("https://a",), pattern_seconds=0.01),
        Criteria(issuers=(issuer,), pattern_seconds=0.01),
        Criteria(issuer_patterns=("nobody",), pattern_seconds=0.01),
        Criteria(kinds=("dsse",), pattern_seconds=0.01),
        Criteria(identity_patterns=("^https://b[.]|c[.]example",), pattern_seconds=0.01),
        Criteria(issuer_patterns=("^nobody", "^https://issuer"), pattern_seconds=0.01),
    ]
    names = ["one@example.com", "https://a.example/x", "https://b.example/x", "https://c.example/"]
    screen = Screen(several)
    for name, expected in zip(names, ({2, 3}, {1, 4}, {1, 8}, {8}), strict=True):
        assert screen.candidates(read_entry(leaf(name))) == {*expected, 5, 7, 9}, name
    for number in range(30):  # more than are asked together
        hostile = leaf(f"https://a.example/{number}{HOSTILE}")
        assert screen.candidates(read_entry(hostile)) == {0, 1, 4, 5, 7, 9}
    assert screen.candidates(read_entry(leaf("two@example.com/"))) == {5, 7, 9}
