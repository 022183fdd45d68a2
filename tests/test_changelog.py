"""The changelog is merged line by line from several sides, which can mix and repeat lines."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

TEXT: Final = (Path(__file__).resolve().parent.parent / "CHANGELOG.md").read_text()
_BEGINNING: Final = 40  # characters that no two items of a release have in common


def items(release: str) -> list[str]:
    """Return what a release has, each item on one line."""
    found = re.findall(r"(?m)^- .*(?:\n  .*)*", release)
    return [" ".join(one.split()) for one in found]


def test_every_item_is_whole_and_said_once() -> None:
    releases = re.split(r"(?m)^## ", TEXT)[1:]
    assert len(releases) >= 3
    for release in releases:
        found = items(release)
        cut = [one for one in found if not re.search(r"\.[)`]?$", one)]
        mixed = [one for one in found if re.search(r"\. [a-z]", one)]  # no sentence begins so
        assert cut + mixed == []
        again = Counter(one[:_BEGINNING] for one in found)
        assert [one for one, count in again.items() if count > 1] == []
