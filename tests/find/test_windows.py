"""What was fetched of a log without tiles is indexed, found and watched; the rest is a gap."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.value import replaced
from tests.mirror.test_rekor_v1 import HOST, Site
from tests.rig.v1_shards import V1Instance, v1_instance
from tests.transfer.test_without_tiles import Inside

ORIGIN = f"{HOST} - 1001"
SIZE = 700


def digest_of(index: int) -> str:
    return sha256(f"artifact {index}".encode()).hexdigest()


def body_of(index: int) -> bytes:
    """An entry as such instances hold it: a digest, a signature, a key."""
    key = b"MCowBQYDK2VwAyEAREvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ="
    key = b"-----BEGIN PUBLIC KEY-----\n" + key + b"\n-----END PUBLIC KEY-----\n"
    spec = {
        "data": {"hash": {"algorithm": "sha256", "value": digest_of(index)}},
        "signature": {
            "content": b64encode(bytes(64)).decode(),
            "publicKey": {"content": b64encode(key).decode()},
        },
    }
    entry = {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


@pytest.fixture
def log() -> Iterator[V1Instance]:
    with v1_instance(HOST) as running:
        running.active.bodies.extend(body_of(index) for index in range(SIZE))
        yield running


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    made = Site(tmp_path, capsys, log)
    made.sync()
    return made


def fetch(site: Site, first: int, count: int) -> None:
    site.later()
    site.json("sync", "--backend", "sigstore-prod", "--from", str(first), "--count", str(count))


def search(site: Any, index: int, *options: str, expect: int = 0) -> Any:
    said = site.json("entries", "search", "--digest", digest_of(index), *options, expect=expect)
    return said if expect else [one["index"] for one in said["hits"]]


def gaps(site: Any, *options: str) -> list[tuple[int, int, str]]:
    """The gaps that a search names which finds something."""
    [one] = site.json("entries", "search", "--digest", digest_of(300), *options)["coverage"]
    return [(gap["from"], gap["to"], gap["why"]) for gap in one["gaps"]]


@pytest.mark.parametrize("options", [(), ("--rescan",)])
def test_a_window_is_found_and_the_rest_is_named(site: Site, options: tuple[str, ...]) -> None:
    fetch(site, 250, 100)
    fetch(site, 690, 5)
    site.json("index", "build")
    for index in (250, 255, 256, 300, 349, 690, 694):
        assert search(site, index, *options) == [index]
    assert gaps(site, *options) == [
        (0, 250, "checkpoint-only"),
        (350, 690, "checkpoint-only"),
        (695, SIZE, "checkpoint-only"),
    ]
    error = search(site, 100, *options, expect=5)
    assert (error["reason"], "--from" in error["next"]) == ("search-incomplete", True)
    [status] = site.json("index", "status")["logs"]
    assert (status["mirrored"], status["indexed"]) == (105, 105)
    site.json("index", "check")
    assert site.json("sql", "SELECT entries, indexed FROM v_coverage")["rows"] == [[105, 105]]


def test_a_hit_has_its_index_over_all_trees(site: Site) -> None:
    """As bundles and Rekor count: the first tree begins at 0, the next after all of it."""
    site.log.rotate()
    site.log.active.bodies.extend(body_of(index) for index in range(1000, 1020))
    site.sync()
    fetch(site, 3, 2)
    site.json("index", "build")
    [hit] = site.json("entries", "search", "--digest", digest_of(1004))["hits"]
    assert (hit["index"], hit["logIndex"], hit["treeBeginsSays"]) == (4, SIZE + 4, None)
    said = site.run("entries", "search", "--digest", digest_of(1004))[1]
    assert f"log index {SIZE + 4} is entry 4 of {HOST} - 1002" in said


def test_what_is_fetched_later_is_a_gap_until_it_is_indexed(site: Site) -> None:
    fetch(site, 300, 10)
    site.json("index", "build")
    for first, count in ((310, 3), (0, 1), (298, 2)):
        with sqlite3.connect(site.path / "index.db") as index:
            before = index.execute("SELECT * FROM indexed").fetchall()
        (site.path / "index.db").rename(site.path / "away.db")
        fetch(site, first, count)
        (site.path / "away.db").rename(site.path / "index.db")
        assert (first, first + count) in [
            (max(start, first), min(stop, first + count))
            for start, stop, why in gaps_of(site)
            if why == "not-indexed"
        ]
        site.json("index", "build")
        assert search(site, first) == [first]
        with sqlite3.connect(site.path / "index.db") as index:
            assert index.execute("SELECT * FROM indexed").fetchall() != before
        assert "not-indexed" not in [why for _, _, why in gaps_of(site)]
    fetch(site, 500, 2)  # with an index a sync brings it up to date
    assert search(site, 501) == [501]


def gaps_of(site: Site) -> list[tuple[int, int, str]]:
    code, out, _ = site.run("entries", "search", "--digest", digest_of(699), "--json")
    assert code == 5
    [one] = json.loads(out)["data"]["coverage"]
    return [(gap["from"], gap["to"], gap["why"]) for gap in one["gaps"]]


def test_a_log_that_is_whole_can_be_said_not_to_hold_something(site: Site) -> None:
    fetch(site, 0, SIZE)
    site.json("index", "build")
    said = site.run("entries", "search", "--digest", sha256(b"nobody signed this").hexdigest())
    assert (said[0], "not logged" in said[1]) == (0, True)
    search(site, 3, "--expect", "none", expect=3)
    site.log.grow(1)
    site.sync()
    search(site, SIZE + 7, expect=5)


def test_an_entry_that_rotted_here_is_damage(site: Site) -> None:
    fetch(site, 300, 10)
    with sqlite3.connect(site.path / "attestor.db") as database:
        other = database.execute("SELECT body FROM entry_window WHERE entry_index = 301").fetchone()
        database.execute("UPDATE entry_window SET body = ? WHERE entry_index = 300", other)
    assert search(site, 300, "--rescan", expect=6)["reason"] == "corrupt"


def test_windows_are_watched_and_found_inside(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = Inside(tmp_path / "inside", capsys, site)
    inside.json("watch", "add", "ours", "--digest", digest_of(260), "--from", "start")
    fetch(site, 258, 2)
    inside.carry("a.tar")
    assert inside.json("watch", "matches", "ours")["matches"] == []
    inside.json("index", "build")
    fetch(site, 260, 4)
    inside.carry("b.tar")
    [match] = inside.json("watch", "matches", "ours")["matches"]
    assert (match["origin"], match["index"]) == (ORIGIN, 260)
    assert search(inside, 263) == [263]
    inside.app = replaced(inside.app, now=lambda: site.now)
    assert len(inside.json("alerts", "list")["alerts"]) == 1
    inside.carry("c.tar")
    assert len(inside.json("watch", "matches", "ours")["matches"]) == 1, "and never again"


def test_a_watch_is_behind_by_the_windows_that_it_was_not_compared_with(site: Site) -> None:
    fetch(site, 250, 20)
    site.json("watch", "add", "ours", "--digest", digest_of(260), "--from", "start")
    assert site.json("watch", "show", "ours")["behind"] == 0
    with sqlite3.connect(site.path / "attestor.db") as database:  # as if it had been killed
        database.execute("DELETE FROM watch_scan")
    assert site.json("watch", "show", "ours")["behind"] == 20
