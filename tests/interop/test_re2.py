"""The patterns of watch lists mean here what they mean to Go: ten thousand of them, made up."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ConfigError
from appliance.policy.re2 import translate

pytestmark = [pytest.mark.interop, pytest.mark.slow]
ORACLE = Path(__file__).with_name("re2_oracle")
PATTERNS = 10_000
PIECES = [
    *("a", "b", "Z", "k", "s", "9", "_", " ", "-", "@", "/", ":", "]", "}", ",", "é", "\u212a"),
    *(".", "^", "$", "|", "|", "(", ")", "(?:", "(?i)", "(?i:", "(?s)", "(?m)", "(?-i)", "(?m:"),
    *("(?P<n>", "(?<m>", "*", "+", "?", "*?", "{2}", "{1,}", "{,2}", "{0,2}", "{", "**"),
    *("[ab]", "[^a]", "[a-k]", "[]a]", "[^]]", "[[:alpha:]]", "[[:^digit:]]", "[\\d_]", "[\\W]"),
    *("[a-]", "[-z]", "[^\\n]", "[\\x41-\\x5a]", "[[:word:]-]", "[", "[[:nope:]]", "[a-b-k]"),
    *("\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\b", "\\B", "\\A", "\\z", "\\Z", "\\.", "\\n"),
    *("\\t", "\\v", "\\a", "\\x41", "\\x{212a}", "\\101", "\\0", "\\1", "\\-", "\\@", "\\_"),
    *("\\Qa.b\\E", "\\Q*", "\\E", "\\pL", "\\p{Greek}", "(?=a)", "(?!a)", "(?<=a)", "(?>a)"),
]
TEXTS = [
    *("", "a", "b", "ab", "AB", "kK", "\u212a", "sS", "\u017f", "a.b", "a\n", "\n", "b\nc", "a b"),
    *("Z9_", "é", "aé", "a{,2}", "a]b", "user@b", "a/b:c", "\x00", "\v", "\t ", "--", "*", "**"),
    *("aaab", "\U0001f600", "A9 z", "[a]", "zZ\nkZ", "a\\E"),
]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go here")
    program = tmp_path_factory.mktemp("re2") / "oracle"
    subprocess.run([go, "build", "-o", str(program), "."], cwd=ORACLE, check=True)
    return program


def test_whatever_is_translated_matches_what_go_matches(oracle: Path) -> None:
    random_ = random.Random(2)  # noqa: S311 repeatable
    patterns = ["".join(random_.choices(PIECES, k=random_.randint(1, 6))) for _ in range(PATTERNS)]
    questions = [{"Pattern": one, "Texts": TEXTS} for one in patterns]
    ran = subprocess.run(
        [oracle], input=json.dumps(questions).encode(), capture_output=True, check=True, timeout=300
    )
    answers: list[dict[str, Any]] = json.loads(ran.stdout)
    translated = 0
    refused: list[str] = []
    for pattern, answer in zip(patterns, answers, strict=True):
        try:
            ours = translate(pattern)
        except ConfigError:
            if answer["Valid"]:
                refused.append(pattern)
            continue
        assert answer["Valid"], f"Go does not take {pattern!r}"
        translated += 1
        compiled = re.compile(ours.python, re.ASCII)
        found = [compiled.search(text) is not None for text in TEXTS]
        assert found == answer["Matches"], (pattern, ours.python)
        for text, is_found in zip(TEXTS, found, strict=True):
            assert not is_found or text.startswith(ours.prefix), (pattern, ours.prefix)
    assert translated > PATTERNS // 4
    # Refused by name, never taken for something else: classes of Unicode characters,
    # (?i) beyond ASCII, and a repetition right after flags.
    known = re.compile(r"\\p|\(\?i|\)[*+?{]|\(\?-i")
    assert [one for one in refused if not known.search(one)][:20] == []
