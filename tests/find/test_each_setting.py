"""Each setting of finding and watching changes what a command does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf
from tests.find.test_patterns import HOSTILE, SLOW
from tests.find.test_search import logged


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def test_setting_watch_regexTimeout(home: MirroredHome) -> None:
    logged(home, leaf(f"https://{HOSTILE}"))
    home.json("index", "build")
    for milliseconds in (20, 30):
        home.json("config", "set", "watch.regexTimeout", f"{milliseconds}ms")
        code, out, _ = home.run("entries", "search", "--identity", SLOW, "--json")
        (opaque,) = json.loads(out)["data"]["coverage"][0]["opaque"]
        assert code == 5 and f"within 0.0{milliseconds // 10} s" in opaque["why"]
