"""Patterns of RE2 mean for `re` what they mean to RE2, or are refused by name."""

from __future__ import annotations

import re

import pytest

from appliance.errors import ConfigError
from appliance.policy.re2 import MAX_PATTERN, translate


def matches(pattern: str, text: str) -> bool:
    return re.search(translate(pattern).python, text, re.ASCII) is not None


@pytest.mark.parametrize(
    ("pattern", "found", "not_found"),
    [
        (r"user@domain\.com", "evil-user@domain.com.attacker.example", "user@domainxcom"),
        ("[[:alpha:]]+", "abc", "123"),
        ("[[:^alpha:]]", "1", "abc"),
        ("b$", "ab", "ab\n"),
        (r"b\z", "ab", "ab\n"),
        (r"\Qa.b\E", "xa.by", "axb"),
        (r"\Qa.b", "a.b", "axb"),
        (r"^\d$", "1", "\u0661"),
        (r"^\w$", "_", "é"),
        (r"^\s$", "\f", "\v"),
        (r"^[\d-z]$", "-", "a"),
        (r"\bé", "aé", "é"),
        (r"\B", "", "a"),
        ("a{,3}", "a{,3}", "aaa"),
        ("(?i)k", "\u212a", "x"),
        ("(?i)S", "\u017f", "x"),
        ("(?i)[^k]", "x", "K"),
        ("a(?i)b|c", "C", "AB"),
        ("(?:a(?i)b)c", "aBc", "abC"),
        ("(?m)^b$", "a\nb\nc", "ab"),
        ("(?s)a.b", "a\nb", "ab"),
        ("a.b", "axb", "a\nb"),
        ("^a.b$", "a\U0010ffffb", "a\nb"),
        ("(?s)^a.b$", "a\udc80b", "ab"),
        ("^[^a-z]$", "\U0010ffff", "q"),
        (r"^[^\x{10FFFF}]$", "\U0010fffe", "\U0010ffff"),
        ("(?P<n>a)(?<m>b)", "ab", "ba"),
        ("[]a]", "]", "b"),
        (r"\x{1F600}|\101", "\U0001f600", "a"),
        ("^*a", "xa", "b"),
    ],
)
def test_a_pattern_matches_what_re2_matches(pattern: str, found: str, not_found: str) -> None:
    assert matches(pattern, found)
    assert not matches(pattern, not_found)


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("(?=a)", "lookahead"),
        ("(?!a)", "lookahead"),
        ("(?<=a)b", "lookbehind"),
        ("(?<!a)b", "lookbehind"),
        (r"(a)\1", "back-reference"),
        ("(?P<n>a)(?P=n)", "back-reference"),
        ("(?>a)", "atomic"),
        (r"\pL", "class of Unicode"),
        (r"\p{Greek}", "class of Unicode"),
        ("(?i)é", "beyond ASCII"),
        ("a**", "repetition of a repetition"),
        ("a*+", "repetition of a repetition"),
        ("*a", "nothing that"),
        ("a{1001}", "out of bounds"),
        ("a{3,2}", "out of bounds"),
        (r"\Z", "escape"),
        ("(a", "without its )"),
        ("a)", "without its ("),
        ("[a", "without its ]"),
        ("[z-a]", "backwards"),
        ("[[:nope:]]", "no class"),
        ("a\\", "ends inside"),
        ("(?x)a", "no group"),
        ("(?P<n>a)(?P<n>b)", "two groups"),
        ("a" * (MAX_PATTERN + 1), "longer than"),
        ("(" * 300 + ")" * 300, "nested too deep"),
    ],
)
def test_what_re2_does_not_know_is_refused_by_name(pattern: str, named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)) as refused:
        translate(pattern)
    assert refused.value.reason == "bad-pattern"


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("^https://github\\.com/org/", "https://github.com/org/"),
        ("^abc?d", "ab"),
        (r"\Aab*", "a"),
        (r"^\Qa.b\E", "a.b"),
        ("^a|b", ""),
        ("a", ""),
        ("(^a)", ""),
        ("(?i)^a", ""),
        ("(?m)^a", ""),
        ("^a(?i)b", "a"),
        ("^a[bc]", "a"),
    ],
)
def test_a_literal_head_is_known(pattern: str, prefix: str) -> None:
    assert translate(pattern).prefix == prefix
