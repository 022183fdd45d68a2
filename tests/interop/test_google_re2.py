"""With google-re2 (the extra `re2`) no pattern is undecided, and no answer is another one."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import ConfigError
from appliance.jobs.find.patterns import Matcher, OverTimeError, linear
from appliance.policy.re2 import translate
from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf
from tests.find.test_patterns import HOSTILE, SLOW
from tests.find.test_search import find, indices, logged
from tests.interop.test_re2 import PATTERNS, PIECES, TEXTS

pytestmark = pytest.mark.interop


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put google-re2, as scripts/python-peers installed it, where Python finds it."""
    directory = os.environ.get("ATTESTOR_PYTHON_PEERS", "")
    found = Path(directory).glob("lib/python*/site-packages") if directory else ()
    monkeypatch.setattr(sys, "path", [*sys.path, *map(str, found)])
    monkeypatch.delitem(sys.modules, "re2")
    linear.cache_clear()
    pytest.importorskip("re2", reason="scripts/python-peers could not install google-re2 here")
    yield
    linear.cache_clear()


@pytest.mark.usefixtures("installed")
def test_what_is_translated_means_what_it_means_to_re2() -> None:
    random_ = random.Random(3)  # noqa: S311 repeatable
    compared = 0
    for _ in range(PATTERNS):
        pattern = "".join(random_.choices(PIECES, k=random_.randint(1, 6)))
        try:
            ours = re.compile(translate(pattern).python, re.ASCII)
        except ConfigError:
            continue  # refused whether or not it is installed
        theirs = linear(pattern)
        assert theirs is not None, pattern
        for text in TEXTS:
            assert (ours.search(text) is not None) == theirs(text), (pattern, text)
        compared += 1
    assert compared > PATTERNS // 4


def answers() -> list[bool | None]:
    return list(Matcher(SLOW, 0.02).search_all(["aaa", HOSTILE, "b", f"{HOSTILE}a"]))


def test_without_it_what_takes_too_long_is_undecided() -> None:
    assert answers() == [True, None, False, None]
    with pytest.raises(OverTimeError):
        Matcher(SLOW, 0.02).search(HOSTILE)


@pytest.mark.usefixtures("installed")
def test_with_it_everything_is_decided() -> None:
    assert answers() == [True, False, False, True]
    assert not Matcher(SLOW, 0.02).search(HOSTILE * 1000)


@pytest.mark.usefixtures("installed")
def test_a_search_over_a_hostile_name_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = MirroredHome(tmp_path / "home", capsys, "connected")
    logged(home, leaf(f"https://{HOSTILE}", b"1"), leaf("https://baa", b"2"))
    home.json("index", "build")
    for rescan in ((), ("--rescan",)):
        answer = find(home, "--identity", SLOW, *rescan)
        assert answer["complete"] and indices(answer) == [1]
