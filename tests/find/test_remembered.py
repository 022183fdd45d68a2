"""What a sync brings is read once for index, ledger and watches; what is remembered is proven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.jobs.find import indexing, search
from appliance.jobs.find.blocks import bodies_in
from appliance.jobs.find.remembered import Remembered
from appliance.rekor.entry_facts import EntryFacts, read_entry
from appliance.store.mirror.logs import put_backend
from appliance.tlog.entries import leaf_hashes
from appliance.tlog.tile import EntryBundle
from tests.cli.mirrored import MirroredHome
from tests.divergence.world import LogServer
from tests.find.logged import leaf
from tests.find.test_search import WHO, filler

FIRST = EntryBundle(0, 3)


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[MirroredHome]:
    """A home with an index, a watch and a row of the ledger, whose log is served."""
    made, server = MirroredHome(tmp_path / "home", capsys, "connected"), LogServer()
    server.logs["sim"] = made.log
    with made.mirror() as mirror, mirror.store.atomic():
        url = f"{server.url}/sim/"
        put_backend(mirror.store, "sim", mirror.log, base_url=None, read_url=url)
    made.json("index", "build")
    made.json("watch", "add", "names", "--identity-exact", WHO)
    made.json("expected", "add", "--digest", "00" * 32, "--fingerprint", "00" * 32)
    yield made
    server.close()


def read_again(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Note what is read beside what the index reads."""
    read: list[bytes] = []

    def noted(body: bytes) -> EntryFacts:
        read.append(body)
        return read_entry(body)

    monkeypatch.setattr(search, "read_entry", noted)
    return read


def test_a_sync_reads_each_new_entry_once(
    home: MirroredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = filler(300)
    home.log.grow(bodies)
    read = read_again(monkeypatch)
    assert home.run("sync", "--entries")[0] == 0
    assert read == []
    (one,) = home.json("watch", "list")["watches"]
    assert (one["behind"], one["matches"]) == (0, 0)
    assert home.json("index", "status")["logs"][0]["indexed"] == 300
    home.run("index", "drop")
    home.log.grow([leaf(WHO)])
    home.run("sync", "--entries")
    assert read[-1] == leaf_of(home, 300) and bodies[0] not in read  # with no index: by the watch
    assert [one["index"] for one in home.json("watch", "matches")["matches"]] == [300]


def leaf_of(home: MirroredHome, at: int) -> bytes:
    with home.mirror() as mirror:
        return bodies_in(mirror, at // 256, at % 256 + 1)[at % 256][1]


def test_what_is_not_in_the_tree_is_read_again(
    home: MirroredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.log.grow([*filler(2), leaf(WHO)])

    def others(*asked: Any) -> list[tuple[int, bytes]]:
        return [(at, filler(1, 7)[0]) for at, _ in bodies_in(*asked)]

    monkeypatch.setattr(indexing, "bodies_in", others)
    read = read_again(monkeypatch)
    home.run("sync", "--entries")
    assert len(read) >= 3
    assert [one["index"] for one in home.json("watch", "matches")["matches"]] == [2]


def test_only_leaf_hashes_of_the_tree_bring_back_what_is_remembered(home: MirroredHome) -> None:
    bodies = filler(3)
    facts, hashes = tuple(map(read_entry, bodies)), leaf_hashes(bodies)
    with home.mirror() as mirror:
        log, one = mirror.log, Remembered(4)
        one.keep(log, 0, bodies, facts)
        assert one.proven(log, FIRST, hashes + bytes(32)) == facts
        assert one.proven(log, EntryBundle(0, 2), hashes) == facts[:2]
        for bundle, other in (
            (FIRST, leaf_hashes(filler(3, 5))),
            (FIRST, hashes[:-1] + b"\0"),
            (FIRST, hashes[:64]),
            (EntryBundle(0, 4), hashes + bytes(32)),
            (EntryBundle(1, 3), hashes),
        ):
            assert one.proven(log, bundle, other) is None
        one.keep(log, 1, bodies, facts)  # no room
        assert one.proven(log, EntryBundle(1, 3), hashes) is None
        n_bytes = sum(map(len, bodies))
        for most_bytes, kept in ((n_bytes - 1, []), (2 * n_bytes - 1, [0]), (2 * n_bytes, [0, 1])):
            one = Remembered(100, most_bytes)
            for at in range(2):
                one.keep(log, at, bodies, facts)
            assert [at for at in range(2) if one.proven(log, EntryBundle(at, 3), hashes)] == kept
