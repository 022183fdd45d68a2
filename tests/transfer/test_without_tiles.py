"""A Rekor v1 instance, which serves no tiles, is carried over the gap and checked offline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import MalformedError
from appliance.jobs.home.init import init_home
from appliance.jobs.transfer import plan
from appliance.jobs.transfer.consistency_member import (
    format_consistency,
    parse_consistency_member,
)
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.mirror.checkpoints import History
from appliance.tlog.merkle import Hash
from appliance.value import replaced
from tests.cli.homes import Home
from tests.mirror.test_directory_backend import write_tree
from tests.mirror.test_rekor_v1 import HOST, Signed, Site, forge
from tests.rig.v1_shards import V1Instance, v1_instance
from tests.simulator import SimulatedLog


@pytest.fixture
def log() -> Iterator[V1Instance]:
    with v1_instance(HOST) as running:
        running.grow(5)
        yield running


@pytest.fixture
def outside(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    return Site(tmp_path, capsys, log)


class Inside(Home):
    """An isolated home that knows the instance's key and host name, and nothing else of it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], outside: Site) -> None:
        self.path, self.capsys, self.outside = path, capsys, outside
        self.app = Session(home=path, now=lambda: outside.now, random_bytes=lambda n: b"\x09" * n)
        init_home(path, "inside.example", "isolated", lambda n: b"\x03" * n)
        [key] = outside.json("key", "list")["keys"]
        self.json("exporters", "add", key["vkey"])
        self.json("backend", "add", "sigstore-prod", "--origin", HOST, "--public-key", outside.key)

    def carry(self, name: str, *options: str, expect: int = 0) -> Any:
        """Export outside, import here."""
        file = self.path.parent / name
        self.outside.later()
        self.outside.json("export", "--backend", "sigstore-prod", "--output", file, *options)
        return self.take(file, expect)

    def take(self, file: Path, expect: int = 0) -> Any:
        self.app = replaced(self.app, now=lambda: self.outside.now)
        found = self.json("import", file, expect=expect)
        return found if expect else found["imports"][0]

    def sizes(self) -> dict[str, int]:
        found = self.json("checkpoints", "list")["checkpoints"]
        sizes: dict[str, int] = {}
        for one in found:
            tree = one["origin"].rpartition(" ")[2]
            sizes[tree] = max(one["treeSize"], sizes.get(tree, 0))
        return sizes


@pytest.fixture
def inside(tmp_path: Path, capsys: pytest.CaptureFixture[str], outside: Site) -> Inside:
    outside.sync()
    return Inside(tmp_path / "inside", capsys, outside)


def all_proven(home: Home) -> int:
    """Check all checkpoints of the first tree again, offline; return how many there are."""
    one = home.json("checkpoints", "verify", "--origin", f"{HOST} - 1001")
    assert one["proven"] == one["checkpoints"], one
    return int(one["checkpoints"])


def test_growth_and_a_new_tree_cross_the_gap(inside: Inside, outside: Site) -> None:
    [first] = inside.carry("a.tar", "--include-tiles", "--checkpoints-only-verified")["logs"]
    assert (first["origin"], first["newSize"]) == (f"{HOST} - 1001", 5)
    [status] = inside.json("sync-status")["backends"]
    assert (status["origin"], status["treeSize"], status["coverage"]) == (
        *(f"{HOST} - 1001", 5),
        None,
    )
    for more in (1, 2, 9):  # syncs between two sticks
        outside.log.grow(more)
        outside.sync()
    [grown] = inside.carry("b.tar")["logs"]
    assert (grown["relation"], grown["oldSize"], grown["newSize"]) == ("ahead", 5, 17)
    outside.log.rotate(grow=3)
    outside.log.grow(4)
    outside.said()
    assert [one["newSize"] for one in inside.carry("c.tar")["logs"]] == [20, 4]
    assert inside.sizes() == {"1001": 20, "1002": 4}
    [status] = inside.json("sync-status")["backends"]
    assert (status["origin"], status["treeSize"]) == (f"{HOST} - 1002", 4)
    # All of it is proven again, on both sides, with no network and no tile.
    for home in (outside, inside):
        all_proven(home)
        proof = home.json("prove", "--origin", f"{HOST} - 1001", "--from-size", "17")
        assert (proof["oldSize"], proof["treeSize"]) == (17, 20)
        home.json("checkpoint", "verify", "--origin", f"{HOST} - 1001", "--tree-size", "17")
    # What did not change is carried and taken again.
    assert [one["relation"] for one in inside.carry("d.tar")["logs"]] == ["same", "same"]


def test_a_lost_stick_is_named_and_the_command_fills_the_gap(inside: Inside, outside: Site) -> None:
    inside.carry("a.tar")
    for more in (1, 2, 3, 4, 5, 6):  # more exports than every export proves itself from
        outside.log.grow(more)
        outside.sync()
        outside.json("export", "--output", outside.path.parent / f"lost{more}.tar")
    outside.log.grow(1)
    outside.sync()
    error = inside.carry("late.tar", expect=5)
    assert error["reason"] == "missing-base"
    assert "--base 5" in error["next"]
    [filled] = inside.carry("gap.tar", "--since-size", "5")["logs"]
    assert (filled["oldSize"], filled["newSize"]) == (5, 27)


def test_a_stick_that_is_older_changes_nothing(inside: Inside, outside: Site) -> None:
    inside.carry("a.tar")
    outside.log.grow(4)
    outside.sync()
    inside.carry("b.tar")
    [old] = inside.take(inside.path.parent / "a.tar")["logs"]
    assert (old["relation"], old["newSize"]) == ("behind", 9)


def test_a_fork_that_comes_by_stick(
    inside: Inside, outside: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside.carry("a.tar")
    forge(outside.log.active, at=2)
    victim = Site(tmp_path / "victim", capsys, outside.log)
    victim.sync()
    outside.log.grow(3)
    victim.sync()
    victim.json("export", "--output", tmp_path / "fork.tar")
    inside.outside = victim
    assert inside.take(tmp_path / "fork.tar", expect=5)["reason"] == "not-in-bundle"
    victim.json("export", "--since-size", "5", "--output", tmp_path / "proof.tar")
    inside.take(tmp_path / "proof.tar", expect=4)
    [alert] = inside.json("alerts", "list")["alerts"]
    assert alert["type"] == "TreeFork"
    assert inside.sizes() == {"1001": 5}


def test_another_key_than_the_pinned_one(inside: Inside, outside: Site, tmp_path: Path) -> None:
    file = tmp_path / "other.tar"
    with v1_instance(HOST) as liar:
        liar.grow(3)
        other = Site(tmp_path / "other", outside.capsys, liar)
        other.sync()
        other.json("export", "--output", file)
    inside.outside = other
    inside.take(file, expect=3)
    [status] = inside.json("sync-status")["backends"]
    assert status["treeSize"] is None
    [backend] = inside.json("backend", "list")["backends"]
    assert (backend["origin"], backend["apiVersion"]) == (HOST, None), "nothing was learnt of it"


def with_a_tiled_log(inside: Inside, outside: Site) -> SimulatedLog:
    """Let both sites know a second log, one with tiles, whose stick is the same."""
    log = SimulatedLog("tiled.example")  # behind the other in a transfer bundle
    log.grow(300)
    tree, key = outside.path.parent / "tiles", outside.path.parent / "tiled.vkey"
    write_tree(tree, log)
    key.write_text(f"{log.key.vkey}\n")
    for home in (outside, inside):
        home.json(
            *("backend", "add", "tiled", "--origin", log.origin, "--public-key", key),
            *("--url", f"file://{tree}") * (home is outside),
        )
    outside.json("sync", "--backend", "tiled", "--full-tiles")
    return log


def test_a_bad_proof_spoils_its_own_log_and_no_other(
    inside: Inside, outside: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.carry("a.tar")
    tiled = with_a_tiled_log(inside, outside)
    outside.log.grow(8)
    outside.sync()
    outside.json("export", "--output", tmp_path / "lost.tar")
    outside.log.grow(14)
    outside.sync()

    def one_is_wrong(proofs: Mapping[int, Sequence[Hash]]) -> bytes:
        assert set(proofs) >= {5, 13}, "that from where the far side stands is right"
        return format_consistency({**proofs, 13: [Hash(bytes(32)), *proofs[13][1:]]})

    monkeypatch.setattr(plan, "format_consistency", one_is_wrong)
    outside.json(
        "export",
        "--since-size",
        "5",
        "--origin",
        f"{HOST} - 1001",
        "--output",
        tmp_path / "bad-alone.tar",
    )
    error = inside.take(tmp_path / "bad-alone.tar", expect=3)
    assert error["reason"] == "consistency-member"
    assert inside.sizes() == {"1001": 5}
    outside.json("export", "--output", tmp_path / "bad.tar")
    error = inside.take(tmp_path / "bad.tar", expect=3)
    assert (error["reason"], "from 13 entries" in error["message"]) == ("consistency-member", True)
    [_, other] = inside.json("sync-status")["backends"]
    assert (other["origin"], other["treeSize"]) == (tiled.origin, 300), "the rest is taken"
    assert inside.sizes()["1001"] == 5, "and of this log nothing"
    refused = inside.json("journal", "list", "--event", "import.refused")["lines"]
    assert [line["details"]["reason"] for line in refused] == ["consistency-member"] * 2
    assert inside.json("alerts", "list")["alerts"] == []
    monkeypatch.undo()
    outside.json("export", "--base", "5", "--output", tmp_path / "good.tar")
    inside.take(tmp_path / "good.tar")
    assert inside.sizes()["1001"] == 27


def test_a_contradiction_that_comes_with_a_bad_proof_is_a_contradiction(
    inside: Inside,
    outside: Site,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside.carry("a.tar")
    forge(outside.log.active, at=2)
    victim = Site(tmp_path / "victim", capsys, outside.log)
    victim.sync()
    outside.log.grow(2)
    victim.sync()
    victim.json("export", "--output", tmp_path / "lost.tar")
    outside.log.grow(6)
    victim.sync()
    monkeypatch.setattr(
        plan,
        "format_consistency",
        lambda proofs: format_consistency({**proofs, 7: [Hash(bytes(32)), *proofs[7][1:]]}),
    )
    victim.json("export", "--since-size", "5", "--output", tmp_path / "fork.tar")
    inside.outside = victim
    inside.take(tmp_path / "fork.tar", expect=4)
    [alert] = inside.json("alerts", "list")["alerts"]
    assert alert["type"] == "TreeFork"


def test_a_tree_that_nobody_signed_for_spoils_no_other(
    inside: Inside, outside: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.carry("a.tar")
    outside.log.rotate(grow=3)
    outside.log.grow(4)
    outside.sync()
    good = History.newest_note

    def other(history: History, tree_size: int) -> bytes:
        note = good(history, tree_size)
        return note.replace(b"\n4\n", b"\n5\n") if b" - 1002" in note else note

    monkeypatch.setattr(History, "newest_note", other)
    outside.json("export", "--output", tmp_path / "b.tar")
    error = inside.take(tmp_path / "b.tar", expect=3)
    assert "1002" in error["message"] or "signature" in error["message"]
    assert inside.sizes() == {"1001": 8}


def test_a_bundle_is_proven_inside_by_what_came(
    inside: Inside, outside: Site, tmp_path: Path
) -> None:
    signed = Signed(tmp_path, outside.log)
    bundle = signed.bundle()  # of 6 entries
    outside.log.grow(4)
    outside.json("sync", "--for", bundle)
    inside.carry("a.tar", "--for", str(bundle))
    [status] = inside.json("sync-status")["backends"]
    assert status["treeSize"] == 10
    checked = inside.json("checkpoint", "verify", "--origin", f"{HOST} - 1001", "--tree-size", "6")
    assert checked["treeSize"] == 6
    command = ("verify", signed.artifact, "--bundle", bundle, "--key", signed.key)
    assert "covered by our mirror up to 10" in inside.run(*command, "--require-mirror")[1]


def test_pruned_checkpoints_take_their_proofs_along(outside: Site) -> None:
    outside.sync()
    for more in (3, 5, 1, 7):
        outside.log.grow(more)
        outside.sync()

    def ranges() -> int:
        text = "SELECT count(*) AS n FROM proven_range"
        store = open_store(outside.path, write=False)
        n = int(store.rows(text)[0]["n"])
        store.close()
        return n

    before = ranges()
    outside.now += 10**6
    outside.app = replaced(outside.app, now=lambda: outside.now)
    outside.json("checkpoints", "prune", "--older-than", "1h", "--keep-latest")
    assert outside.sizes() == {"1001": [21]}
    assert ranges() < before
    outside.log.grow(2)
    outside.sync()
    assert all_proven(outside) == 2


@pytest.mark.parametrize(
    "text",
    [
        "from 0\n",
        "from 7",
        "AAAA\n",
        "from 7\nfrom 6\n",
        "from 7\nAAAA\n",
        "from 07\n",
        "from 7\n\n",
        "from \u0667\n",
    ],
)
def test_other_forms_of_the_member_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_consistency_member(text.encode())


def test_the_member_is_read_as_it_was_written() -> None:
    proofs = {7: (Hash(bytes([1] * 32)), Hash(bytes(32))), 12: ()}
    assert parse_consistency_member(format_consistency(proofs)) == proofs
