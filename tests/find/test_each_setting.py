"""Each setting of finding and watching changes what a command does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf
from tests.find.test_patterns import HOSTILE, SLOW
from tests.find.test_search import WHO, logged
from tests.find.test_watch import trust


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


def told(home: MirroredHome) -> list[dict[str, Any]]:
    found = home.json("alerts", "list")["alerts"]
    return [one["payload"] for one in found if one["eventType"].startswith("rekor.entry.")]


def test_setting_watch_defaultSeverity(home: MirroredHome) -> None:
    logged(home, leaf(WHO))
    for severity in ("info", "critical"):
        home.json("config", "set", "watch.defaultSeverity", severity)
        home.json("watch", "add", severity, "--identity-exact", WHO)
        assert told(home)[-1]["severity"] == severity


def test_setting_watch_unvouched(home: MirroredHome, tmp_path: Path) -> None:
    trust(home, tmp_path)
    logged(home, leaf(WHO, other=True))
    for value, event in (("info", "claimed"), ("ignore", None), ("same", "matched")):
        home.json("config", "set", "watch.unvouched", value)
        before = len(told(home))
        home.json("watch", "add", value, "--identity-exact", WHO)
        events = [one["eventType"] for one in told(home)[before:]]
        assert events == ([f"rekor.entry.{event}"] if event else [])


def test_setting_watch_grace(home: MirroredHome) -> None:
    logged(home, leaf(WHO))
    unexpected = ("--identity-exact", WHO, "--expectations", "required")
    home.json("config", "set", "watch.grace", "1h")
    home.json("watch", "add", "patient", *unexpected)
    assert not told(home)
    home.json("watch", "add", "hasty", *unexpected, "--grace", "0s")
    home.json("config", "set", "watch.grace", "0s")
    home.json("watch", "add", "plain", *unexpected)
    assert [one["watch"] for one in told(home)] == ["hasty", "plain"]


def test_setting_watch_maxEntriesPerAlert(home: MirroredHome) -> None:
    logged(home, *(leaf(WHO, b"%d" % number) for number in range(4)))
    for most in (3, 4):
        home.json("config", "set", "watch.maxEntriesPerAlert", str(most))
        home.json("watch", "add", f"w{most}", "--identity-exact", WHO)
        alert = told(home)[-1]
        assert (len(alert["entries"]), alert["moreEntries"]) == (most, 4 - most)
