"""Each setting of finding and watching changes what a command does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.mirrored import MirroredHome
from tests.divergence.world import LogServer
from tests.find.logged import leaf
from tests.find.test_patterns import HOSTILE, SLOW
from tests.find.test_search import WHO, find, logged, serve
from tests.find.test_watch import trust


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


@pytest.fixture
def server() -> Iterator[LogServer]:
    started = LogServer()
    yield started
    started.close()


def test_setting_entryIndex_enabled(home: MirroredHome, server: LogServer) -> None:
    serve(home, server)

    def indexed(setting: str, artifact: bytes) -> int:
        home.json("config", "set", "entryIndex.enabled", setting)
        home.log.grow([leaf(WHO, artifact)])
        home.json("sync", "--entries")
        return int(home.json("index", "status")["logs"][0]["indexed"])

    assert indexed("null", b"1") == 0, "nobody asked for one"
    assert indexed("true", b"2") == 2
    assert indexed("false", b"3") == 0, "what it has is of a narrower entry bundle"
    for word in ("build", "rebuild"):
        assert home.json("index", word, expect=8)["reason"] == "index-disabled"
    assert indexed("null", b"4") == 4, "there is one, so it is kept"
    assert len(find(home, "--identity-exact", WHO)["hits"]) == 4


def test_setting_entryIndex_maxSizeBytes(home: MirroredHome) -> None:
    logged(home, leaf(WHO, b"one"))
    home.json("index", "build")
    home.json("config", "set", "entryIndex.maxSizeBytes", "1kB")
    logged(home, leaf(WHO, b"two"))
    error = home.json("index", "build", expect=8)
    assert error["reason"] == "index-full" and "maxSizeBytes is 1," in error["message"]
    error = find(home, "--identity-exact", WHO, expect=5)
    assert error["reason"] == "search-incomplete" and "(not-indexed)" in error["message"]
    home.json("config", "set", "entryIndex.maxSizeBytes", "1GB")
    home.json("index", "build")
    assert len(find(home, "--identity-exact", WHO)["hits"]) == 2


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
