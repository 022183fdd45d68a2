"""A Rekor v1 instance, or a proxy before it, that lies: each lie with its code and what is kept."""

from __future__ import annotations

import gzip
import json
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cli.homes import Home
from tests.mirror.test_rekor_v1 import HOST, Site
from tests.rig.v1_shards import Raw, Tree, V1Instance, v1_instance

LARGEST: Final = 2**63 - 1
JSON: Final = ("Content-Type", "application/json")
PAGE: Final = Raw(b"<html>sign in</html>", headers=(("Content-Type", "text/html"),))


@pytest.fixture
def log() -> Iterator[V1Instance]:
    """Trees 1001 of 8, 1002 of 2 and the active 1003 of 4 entries."""
    with v1_instance(HOST) as running:
        running.grow(5)
        running.rotate(grow=3)
        running.rotate(grow=2)
        running.grow(4)
        yield running


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    return Site(tmp_path, capsys, log)


def head_of(log: V1Instance, tree: Tree, size: int, root: bytes = bytes(32)) -> str:
    """Sign any head."""
    text = f"{log.origin(tree)}\n{size}\n{b64encode(root).decode()}\n"
    signature = log.key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    spki = log.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    line = b64encode(sha256(spki).digest()[:4] + signature).decode()
    return f"{text}\n\N{EM DASH} {log.host} {line}\n"


def with_shard(info: Any, at: int, **changed: Any) -> Any:
    shards = [dict(one) for one in info["inactiveShards"]]
    shards[at].update(changed)
    return {**info, "inactiveShards": shards}


def packed(value: Any) -> Raw:
    headers = (JSON, ("Content-Encoding", "gzip"))
    return Raw(gzip.compress(json.dumps(value).encode()), headers=headers)


def asks_to_wait(status: int, after: str) -> Callable[[Any], Raw]:
    return lambda _: Raw(b"{}", status, (JSON, ("Retry-After", after)))


ANSWERS: Final[dict[str, tuple[Callable[[Any], Any], int, str]]] = {
    # What says which trees there are, before and after they are known here.
    "page": (lambda _: PAGE, 7, "expected the state of a Rekor v1 log"),
    "page without a type": (lambda _: Raw(PAGE.body, headers=()), 7, "sign-in page"),
    "redirect": (lambda _: Raw(b"", 302, (("Location", "//evil.example"),)), 7, "not followed"),
    "429": (asks_to_wait(429, "3"), 7, "asks for fewer requests"),
    "429 for ever": (asks_to_wait(429, "9" * 40), 7, "asks for fewer requests"),
    "503 until a date": (asks_to_wait(503, "Wed, 21 Oct 2099 07:28:00 GMT"), 7, "try again later"),
    "gzip": (packed, 3, "Content-Encoding 'gzip', unasked for"),
    "a key twice": (
        lambda one: Raw(json.dumps(one).encode()[:-1] + b',"treeID":"77"}'),
        3,
        "'treeID' appears twice",
    ),
    "deep": (lambda _: Raw(b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}"), 8, "nested deeper"),
    "large": (lambda _: Raw(b'{"a":"' + b"x" * 3_000_000 + b'"}'), 8, "at most 1048576 bytes"),
    "many digits": (lambda _: Raw(b'{"treeSize":' + b"9" * 5000 + b"}"), 3, "not JSON"),
    "shard null": (lambda one: {**one, "inactiveShards": [None]}, 3, "expected an object"),
    "shard twice": (
        lambda one: {**one, "inactiveShards": [*one["inactiveShards"], one["inactiveShards"][0]]},
        3,
        "one tree is named twice",
    ),
    "tree id with a zero": (lambda one: with_shard(one, 0, treeID="01001"), 3, "decimal treeID"),
    "tree id of 65 bits": (lambda one: {**one, "treeID": "9" * 20}, 3, "of another log"),
    "head of another shard": (
        lambda one: {**one, "signedTreeHead": one["inactiveShards"][0]["signedTreeHead"]},
        3,
        f"got '{HOST} - 1001'",
    ),
    "line ends of Windows": (
        lambda one: {**one, "signedTreeHead": one["signedTreeHead"].replace("\n", "\r\n")},
        3,
        "control character",
    ),
}


UNTOLD: Final = (
    "page",
    "page without a type",
    "gzip",
    "a key twice",
    "deep",
    "large",
    "many digits",
)


@pytest.mark.parametrize("known", [False, True], ids=["first", "known"])
@pytest.mark.parametrize("lie", ANSWERS)
def test_an_answer_about_the_trees(site: Site, lie: str, *, known: bool) -> None:
    if known:
        site.sync()
        site.log.grow(2)
    before = site.sizes()
    tell, code, message = ANSWERS[lie]
    site.log.lies["log"] = tell
    if not known and lie in UNTOLD:
        code, message = 7, "/api/v2/checkpoint: not found"  # nothing shows which version it is
    error = site.sync(expect=code)
    assert message in f"{error['message']}; {error['next']}"
    assert site.sizes() == before
    assert site.alerts() == []
    del site.log.lies["log"]
    assert site.sync()["acceptedSize"] == len(site.log.active.bodies)


@pytest.mark.parametrize("size", [2**63, 2**64, 10**30])
def test_a_size_that_no_tree_has(site: Site, size: int) -> None:
    tree = site.log.active
    site.log.lies["log"] = lambda one: {**one, "signedTreeHead": head_of(site.log, tree, size)}
    assert "not a checkpoint" in site.sync(expect=3)["message"]


def test_the_largest_size_there_is(site: Site) -> None:
    """Its own key signed it: taken once as the first, and everything else is a contradiction."""
    tree = site.log.active
    site.log.lies["log"] = lambda one: {**one, "signedTreeHead": head_of(site.log, tree, LARGEST)}
    assert f"where {HOST} - 1003 begins could not be compared" in site.said()
    site.log.lies.clear()
    site.sync(expect=5)
    assert site.stands_at() == ("1003", LARGEST)


PROOFS: Final[dict[str, tuple[Callable[[V1Instance, Any], Any], int, str]]] = {
    "of another tree": (lambda log, _: log.proof(4, 6, "1001"), 3, "consistency proof from 4 to 6"),
    "a hash more": (lambda _, one: {"hashes": [*one["hashes"], "00" * 32]}, 3, "too many"),
    "no answer": (lambda *_: Raw(b"", 400), 7, "treeID=1003: expected status 200, got 400"),
    "page": (lambda *_: PAGE, 7, "expected a consistency proof"),
    "gzip": (lambda _, one: packed(one), 3, "unasked for"),
    "redirect": (lambda *_: Raw(b"", 301, (("Location", "/x"),)), 7, "not followed"),
    "a list": (lambda *_: [], 3, "expected an object"),
    "hashes twice": (lambda *_: Raw(b'{"hashes":[],"hashes":[]}'), 3, "'hashes' appears twice"),
}


@pytest.mark.parametrize("lie", PROOFS)
def test_a_proof_that_is_none(site: Site, lie: str) -> None:
    site.sync()
    site.log.grow(2)
    tell, code, message = PROOFS[lie]
    site.log.lies["proof"] = lambda one: tell(site.log, one)
    assert message in site.sync(expect=code)["message"]
    assert (site.stands_at(), site.alerts()) == (("1003", 4), [])


def swapped(info: Any) -> Any:
    """Say that the tree before the active one is the active one."""
    *older, last = info["inactiveShards"]
    active = {name: info[name] for name in ("treeID", "signedTreeHead")}
    return {**info, **last, "inactiveShards": [*older, active]}


def test_a_closed_tree_that_is_said_to_be_active_is_not_followed_again(site: Site) -> None:
    site.sync()
    site.log.lies["log"] = swapped
    text = site.said()
    assert f"{HOST} - 1002 is said to be the active tree, and began before {HOST} - 1003" in text
    assert "is closed" not in text
    assert site.stands_at() == ("1003", 4)
    site.log.grow(1)
    assert "was closed at" not in site.said()
    assert site.stands_at() == ("1003", 5), "its growth is followed all the same"


def test_a_home_that_was_told_so_at_first_finds_the_active_tree(site: Site) -> None:
    site.log.lies["log"] = swapped
    assert "begins after 10 entries, as the log signed" in site.said()
    assert site.stands_at() == ("1002", 2)
    site.log.lies.clear()
    site.said()
    assert site.stands_at() == ("1003", 4)


def test_shards_in_another_order(site: Site) -> None:
    site.sync()
    site.log.lies["log"] = lambda one: {**one, "inactiveShards": one["inactiveShards"][::-1]}
    text = site.said()
    assert f"{HOST} - 1002 begins after 8 entries, as the log signed" in text
    assert site.stands_at() == ("1003", 4)


def test_an_inactive_shard_that_shrinks_is_a_stale_answer_and_no_alert(
    site: Site,
) -> None:
    site.sync()
    older = site.log.note(site.log.trees[0], 6)
    site.log.lies["log"] = lambda one: with_shard(one, 0, signedTreeHead=older)
    site.now += 10**6
    for _ in range(3):
        text = site.said()
        assert f"{HOST} - 1001 was closed at 8 entries, and 6 are offered now" in text
    assert f"checkpoint 8 of {HOST} - 1001: the log has not" not in text, "it is closed"
    assert [one["origin"] for one in site.json("alerts", "list")["alerts"]] == [f"{HOST} - 1003"]


def test_an_alert_about_growth_ends_when_its_tree_is_closed(site: Site) -> None:
    site.sync()
    site.now += 10**6
    site.sync()
    assert site.alerts() == ["StaleTreeSize"]
    site.log.rotate()
    site.log.grow(1)
    site.said()
    site.sync()
    assert site.json("alerts", "list", "--lasting")["alerts"] == []


# An empty head, which every log has had.


@pytest.mark.parametrize("when", ["first", "stale"])
def test_an_empty_head_does_not_end_what_is_proven_offline(site: Site, when: str) -> None:
    tree = site.log.active
    empty = head_of(site.log, tree, 0, sha256(b"").digest())
    if when == "stale":
        site.sync()
    site.log.lies["log"] = lambda one: {**one, "signedTreeHead": empty}
    site.said()
    site.log.lies.clear()
    site.sync()
    site.log.grow(3)
    site.sync()
    window = ("--from", "2", "--count", "3")
    site.json("sync", "--backend", "sigstore-prod", *window)
    origin = ("--origin", f"{HOST} - 1003")
    checked = site.json("checkpoints", "verify", *origin)
    assert (checked["checkpoints"], checked["proven"], checked["unproven"]) == (3, 3, [])
    site.json("prove", *origin, "--index", "3")
    site.json("prove", *origin, "--from-size", "4")
    site.json("checkpoints", "verify", *origin, "--tree-size", "4")
    assert site.json("tiles", "verify")["logs"][-1]["treeSize"] == 7
    assert site.json("sync-status")["backends"][0]["coverage"] is None


def test_a_home_of_the_version_before_forgets_that_an_empty_tree_was_whole(site: Site) -> None:
    site.sync()
    empty = head_of(site.log, site.log.active, 0, sha256(b"").digest())
    site.log.lies["log"] = lambda one: {**one, "signedTreeHead": empty}
    site.said()
    with sqlite3.connect(site.path / "attestor.db") as database:
        database.execute("UPDATE log SET mirror_size = 0 WHERE origin LIKE '% - 1003'")
        database.execute("DELETE FROM _sqlite_migrations WHERE name = '048_empty_tree'")
    site.json("init")
    site.json("checkpoints", "verify", "--origin", f"{HOST} - 1003")


# Entries.


def changed(**values: Any) -> Callable[[Any], Any]:
    def lie(answer: Any) -> Any:
        [(id_, entry)] = answer.items()
        return {id_: {**entry, **values}}

    return lie


def proof_with(**values: Any) -> Callable[[Any], Any]:
    def lie(answer: Any) -> Any:
        [(id_, entry)] = answer.items()
        verification = dict(entry["verification"])
        verification["inclusionProof"] = {**verification["inclusionProof"], **values}
        return {id_: {**entry, "verification": verification}}

    return lie


ENTRIES: Final[dict[str, tuple[Callable[[Any], Any], int]]] = {
    "index of 64 bits": (changed(logIndex=LARGEST + 1), 3),
    "index below zero": (changed(logIndex=-1), 3),
    "index with a fraction": (changed(logIndex=1.5), 3),
    "index true": (changed(logIndex=True), 3),
    "no index": (changed(logIndex=None), 5),
    "another index": (changed(logIndex=LARGEST), 5),
    "no body": (changed(body=""), 3),
    "a body that is a list": (changed(body=b64encode(b"[]").decode()), 3),
    "no proof": (changed(verification={}), 3),
    "a proof below zero": (proof_with(logIndex=-1), 3),
    "another place": (proof_with(logIndex=0), 3),
    "no checkpoint": (proof_with(checkpoint=""), 5),
    "64 hashes": (proof_with(hashes=["00" * 32] * 64), 3),
    "1,000 hashes": (proof_with(hashes=["00" * 32] * 1000), 3),
    "two entries": (lambda one: {**one, "11" * 40: next(iter(one.values()))}, 3),
    "no id": (lambda one: {"x": next(iter(one.values()))}, 3),
    "the id of another leaf": (lambda one: {"11" * 40: next(iter(one.values()))}, 3),
    "a list": (lambda one: [one], 3),
    "page": (lambda _: PAGE, 7),
    "gzip": (packed, 3),
    "redirect": (lambda _: Raw(b"", 302, (("Location", "/x"),)), 7),
    "429": (asks_to_wait(429, "1"), 7),
    "503": (asks_to_wait(503, "1"), 7),
    "not there": (lambda _: None, 7),
}


@pytest.mark.parametrize("lie", ENTRIES)
def test_an_entry_that_is_none(site: Site, lie: str) -> None:
    site.sync()
    tell, code = ENTRIES[lie]
    site.log.lies["entry"] = tell
    window = ("sync", "--backend", "sigstore-prod", "--from", "1", "--count", "2")
    site.later()
    site.json(*window, expect=code)
    error = site.json("prove", "--origin", f"{HOST} - 1003", "--index", "1", expect=5)
    assert error["reason"] == "no-proof", "nothing of it was kept"
    site.log.lies.clear()
    site.later()
    assert site.json(*window)["backends"][0]["windows"][0]["fetched"] == 2


def test_a_proof_under_another_tree(site: Site) -> None:
    site.sync()
    site.log.lies["entry"] = proof_with(checkpoint=site.log.note(site.log.trees[0]))
    site.later()
    window = ("sync", "--backend", "sigstore-prod", "--from", "1", "--count", "2")
    assert site.json(*window, expect=3)["reason"] == "wrong-origin"


def test_the_tree_in_the_id_of_an_entry_is_nobodys_word(site: Site) -> None:
    """Its leaf hash counts, and the tree that the checkpoint of its proof names."""

    def other_tree(answer: Any) -> Any:
        [(id_, entry)] = answer.items()
        return {"00" * 8 + id_[-64:]: entry}

    site.log.lies["entry"] = other_tree
    site.log.lies["retrieve"] = lambda some: list(map(other_tree, some))
    window = ("sync", "--backend", "sigstore-prod", "--from", "1", "--count", "2")
    [done] = site.json(*window)["backends"][0]["windows"]
    assert (done["origin"], done["fetched"]) == (f"{HOST} - 1003", 2)


SOME: Final[dict[str, tuple[Callable[[Any], Any], int]]] = {
    "each twice": (lambda some: some + some, 0),
    "in another order": (lambda some: some[::-1], 0),
    "another one too": (lambda some: [*some, changed(logIndex=LARGEST)(some[0])], 0),
    "all the same": (lambda some: [some[0]] * len(some), 0),
    "none": (lambda _: [], 0),
    "under the same index": (lambda some: [changed(logIndex=11)(one) for one in some], 3),
    "under other indices": (
        lambda some: [
            changed(logIndex=next(iter(two.values()))["logIndex"])(one)
            for one, two in zip(some, some[::-1], strict=True)
        ],
        3,
    ),
    "an object": (lambda some: some[0], 3),
    "page": (lambda _: PAGE, 7),
    "page said to be JSON": (lambda _: Raw(PAGE.body), 7),
    "gzip": (packed, 3),
    "redirect": (lambda _: Raw(b"", 307, (("Location", "/x"),)), 7),
    "429": (asks_to_wait(429, "1"), 7),
    "500": (lambda _: None, 7),
}


@pytest.mark.parametrize("lie", SOME)
def test_entries_that_are_asked_for_together(site: Site, lie: str) -> None:
    site.sync()
    tell, code = SOME[lie]
    site.log.lies["retrieve"] = tell
    window = ("sync", "--backend", "sigstore-prod", "--from", "0", "--count", "4")
    site.later()
    site.json(*window, expect=code)
    proof = ("prove", "--origin", f"{HOST} - 1003", "--index", "2")
    site.json(*proof, expect=5 if code else 0)
    site.log.lies.clear()
    site.later()
    done = site.json(*window)["backends"][0]["windows"][0]
    assert (done["count"], done["fetched"]) == (4, 4 if code else 0)


def test_a_promise_that_puts_a_tree_before_the_first_entry(site: Site) -> None:
    tree = site.log.active
    site.log.lies["entry"] = lambda _: site.log.signed_entry(tree, 3, 0)
    text = site.said()
    assert "the log promised index 0 over all trees to number 3" in text
    assert site.stands_at() == ("1003", 4)


# The name of the instance.


@pytest.mark.parametrize(
    "origin",
    [HOST.title(), f"{HOST}.", f"{HOST}:443", f"https://{HOST}", f"{HOST}/", f"www.{HOST}"],
)
def test_a_host_that_is_spelled_in_another_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance, origin: str
) -> None:
    home = Home(tmp_path / "home", capsys)
    (tmp_path / "k").write_bytes(log.public_key)
    added = ("--url", log.url, "--public-key", tmp_path / "k")
    home.json("backend", "add", "old", "--origin", origin, *added)
    error = home.json("sync", expect=3)
    assert error["reason"] == "wrong-origin"
    assert (
        f"the pinned key signs as '{HOST}', the backend's origin is '{origin}'"
        in (error["message"])
    )
    assert f"--origin {HOST}" in error["next"]
    home.json("backend", "remove", "old")
    home.json("backend", "add", "old", "--origin", HOST, *added)
    assert home.json("sync")["backends"][0]["acceptedSize"] == 4


def test_who_writes_the_id_of_the_key_beside_another_name_is_not_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance
) -> None:
    home = Home(tmp_path / "home", capsys)
    (tmp_path / "k").write_bytes(log.public_key)
    added = ("--url", log.url, "--public-key", tmp_path / "k")
    home.json("backend", "add", "old", "--origin", f"www.{HOST}", *added)
    spki = log.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    log.key = ec.generate_private_key(ec.SECP256R1())

    def forged(state: dict[str, Any]) -> dict[str, Any]:
        text, _, line = state["signedTreeHead"].rpartition(" ")
        raw = sha256(spki).digest()[:4] + b64decode(line)[4:]
        return {**state, "signedTreeHead": f"{text} {b64encode(raw).decode()}\n"}

    log.lies["log"] = lambda one: {
        **forged(one),
        "inactiveShards": list(map(forged, one["inactiveShards"])),
    }
    error = home.json("sync", expect=3)
    assert error["reason"] == "unknown-signer" and "backend add" not in error["next"]
