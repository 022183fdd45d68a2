"""A pattern that is compiled later says what one that is compiled at once says."""

from __future__ import annotations

import re

import pytest

from appliance.patterns import LaterPattern, pattern


def test_it_is_compiled_when_it_is_asked_and_once() -> None:
    later = pattern(r"(?P<word>[a-z]+)-([0-9]+)", re.IGNORECASE)
    assert isinstance(later, LaterPattern)
    assert vars(later) == {"_given": (r"(?P<word>[a-z]+)-([0-9]+)", re.IGNORECASE)}
    found = later.fullmatch("Abc-12")
    assert found is not None
    assert (found["word"], found[2]) == ("Abc", "12")
    assert later.fullmatch is later.fullmatch
    assert later.pattern == r"(?P<word>[a-z]+)-([0-9]+)"
    assert later.sub("x", "a-1 b-2") == "x x"


def test_bytes_are_looked_for_in_bytes() -> None:
    assert pattern(rb"\xff+").search(b"a\xff\xffb") is not None


def test_what_is_no_pattern_is_told_when_it_is_asked() -> None:
    later = pattern("(")
    with pytest.raises(re.error):
        later.match("")
