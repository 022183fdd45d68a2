"""A Rekor v1 instance, followed from tree to tree: twenty stories, each with code and state."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.jobs.mirror import older_proofs
from appliance.runs import sync
from appliance.store.database import open_store
from appliance.store.mirror.logs import put_window, require_log
from appliance.value import replaced
from tests.cli.homes import NOW, Home
from tests.rig.v1_proposals import hashedrekord
from tests.rig.v1_server import canonical_body
from tests.rig.v1_shards import Tree, V1Instance, v1_instance

HOST = "rekor.sigstore.dev"


@pytest.fixture
def log() -> Iterator[V1Instance]:
    with v1_instance(HOST) as running:
        running.grow(5)
        yield running


class Site(Home):
    """A home that follows the instance, as the published documents have it added."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> None:
        super().__init__(path / "home", capsys)
        self.log = log
        self.now = NOW
        self.app = replaced(self.app, now=lambda: self.now, sleep=lambda _: None)
        self.key = path / "rekor.pub"
        self.key.write_bytes(log.public_key)
        self.added = self.json(
            *("backend", "add", "sigstore-prod", "--origin", log.host),
            *("--url", log.url, "--public-key", self.key),
        )

    def later(self) -> None:
        self.now += 300
        self.app = replaced(self.app, now=lambda: self.now)

    def sync(self, expect: int = 0) -> Any:
        """Sync; return what came of the backend, or the error."""
        self.later()
        found = self.json("sync", "--backend", "sigstore-prod", expect=expect)
        return found if expect else found["backends"][0]

    def said(self, expect: int = 0) -> str:
        """Sync; return what it said, on both streams."""
        self.later()
        code, out, err = self.run("sync", "--backend", "sigstore-prod")
        assert code == expect, out + err
        return out + err

    def sizes(self) -> dict[str, list[int]]:
        """Return the accepted sizes by tree id, ascending."""
        store = open_store(self.path, write=False)
        rows = store.rows(
            "SELECT origin, tree_size FROM checkpoint JOIN log ON id = log_id ORDER BY 1, 2"
        )
        found: dict[str, list[int]] = {}
        for row in rows:
            found.setdefault(row["origin"].rpartition(" ")[2], []).append(row["tree_size"])
        store.close()
        return found

    def stands_at(self) -> tuple[str, int | None]:
        [one] = self.json("sync-status")["backends"]
        return one["origin"].rpartition(" ")[2], one["treeSize"]

    def alerts(self) -> list[str]:
        return [one["type"] for one in self.json("alerts", "list")["alerts"]]


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    return Site(tmp_path, capsys, log)


def forge(tree: Tree, at: int = 0) -> None:
    """Put another entry where one is already."""
    tree.bodies[at] = b'{"apiVersion":"0.0.1","kind":"forged","spec":{}}'


# Honest instances.


def test_a_bare_host_stands_for_the_active_tree(site: Site) -> None:
    assert site.added["origin"] == HOST
    done = site.sync()
    assert (done["origin"], done["relation"]) == (f"{HOST} - 1001", "first")
    assert (done["acceptedSize"], done["complete"]) == (5, True)
    assert site.stands_at() == ("1001", 5)
    # Typed again, it is what it was.
    site.json(
        *("backend", "add", "sigstore-prod", "--origin", HOST),
        *("--url", site.log.url, "--public-key", site.key),
    )
    assert site.stands_at() == ("1001", 5)


def test_a_dry_run_pins_no_tree(site: Site) -> None:
    def rows() -> list[list[tuple[object, ...]]]:
        store = open_store(site.path, write=False)
        found = [
            [tuple(row) for row in store.rows(f"SELECT * FROM {table}")]  # noqa: S608 ours
            for table in ("log", "backend", "checkpoint", "journal", "alert")
        ]
        store.close()
        return found

    before = rows()
    [done] = site.json("sync", "--dry-run")["backends"]
    assert (done["origin"], done["treeSize"]) == (f"{HOST} - 1001", 5)
    assert rows() == before
    site.sync()
    site.log.rotate()
    before = rows()
    [done] = site.json("sync", "--dry-run")["backends"]
    assert done["origin"] == f"{HOST} - 1002"
    assert rows() == before


def test_growth_is_proven_at_each_step(site: Site) -> None:
    for more in (0, 1, 2, 8, 16, 33):
        site.log.grow(more)
        done = site.sync()
        assert done["acceptedSize"] == len(site.log.active.bodies)
    assert site.sizes() == {"1001": [5, 6, 8, 16, 32, 65]}
    proofs = [one for one in site.log.asked if "/proof?" in one]
    assert len(proofs) == 5


def test_a_new_signature_of_the_same_head_is_not_kept(site: Site) -> None:
    for _ in range(4):
        assert site.sync()["relation"] in ("first", "same")
    store = open_store(site.path, write=False)
    assert store.rows("SELECT count(*) AS n FROM checkpoint_note")[0]["n"] == 1
    store.close()
    [one] = site.json("sync-status")["backends"]
    assert one["ageSeconds"] == 0, "it answered just now"


def test_rotation_between_polls(site: Site) -> None:
    site.sync()
    site.log.rotate(grow=3)
    site.log.grow(2)
    text = site.said()
    assert f"{HOST} - 1001 is closed; {HOST} - 1002 is followed now" in text
    assert site.sizes() == {"1001": [5, 8], "1002": [2]}
    assert site.stands_at() == ("1002", 2)
    assert site.sync()["relation"] == "same"


def test_two_rotations_between_polls(site: Site) -> None:
    site.sync()
    site.log.rotate(grow=1)
    site.log.rotate(grow=4)
    site.log.grow(1)
    site.said()
    assert site.sizes() == {"1001": [5, 6], "1002": [4], "1003": [1]}
    assert site.stands_at() == ("1003", 1)


def test_rotation_in_the_middle_of_a_sync(site: Site) -> None:
    site.sync()
    site.log.grow(4)

    def rotate_after(answer: Any) -> Any:
        del site.log.lies["log"]
        site.log.rotate(grow=5)
        return answer

    site.log.lies["log"] = rotate_after
    assert site.sync()["acceptedSize"] == 9
    assert site.stands_at() == ("1001", 9)
    site.log.grow(1)
    site.said()
    assert site.sizes() == {"1001": [5, 9, 14], "1002": [1]}


def test_an_empty_new_tree(site: Site) -> None:
    site.sync()
    site.log.rotate()
    site.said()
    assert site.stands_at() == ("1002", 0)
    site.log.grow(7)
    assert site.sync()["acceptedSize"] == 7


def test_the_line_with_a_timestamp_of_old_servers(site: Site) -> None:
    tree = site.log.active

    def old_server(answer: Any) -> Any:
        note = site.log.note(tree, extension="Timestamp: 1700000000000000000\n")
        return {**answer, "signedTreeHead": note}

    site.log.lies["log"] = old_server
    site.sync()
    site.log.grow(2)
    assert site.sync()["acceptedSize"] == 7


def test_a_stale_replica_that_proves_itself(site: Site) -> None:
    site.log.grow(6)
    site.sync()
    tree = site.log.active
    site.log.lies["log"] = lambda one: {**one, "signedTreeHead": site.log.note(tree, 7)}
    assert "a stale replica answered with size 7" in site.said()
    assert site.stands_at() == ("1001", 11)


def test_a_stale_replica_that_cannot_prove_itself(site: Site) -> None:
    site.log.grow(6)
    site.sync()
    tree = site.log.active
    kept = tree.bodies[7:]
    del tree.bodies[7:]  # it has no larger tree to prove anything by
    assert site.sync(expect=5)["reason"] == "not-placed"
    assert (site.stands_at(), site.alerts()) == (("1001", 11), [])
    tree.bodies += kept
    assert site.sync()["relation"] == "same"


def test_one_tree_can_be_pinned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance
) -> None:
    log.rotate()
    log.grow(1)
    home = Home(tmp_path / "home", capsys)
    key = tmp_path / "k"
    key.write_bytes(log.public_key)
    home.json(
        *("backend", "add", "old", "--origin", f"{HOST} - 1001", "--url", log.url),
        *("--public-key", key),
    )
    done = home.json("sync")["backends"][0]
    assert (done["origin"], done["acceptedSize"]) == (f"{HOST} - 1001", 5)
    log.trees = log.trees[1:]
    assert home.json("sync", expect=5)["reason"] == "shard-missing"


def test_one_tree_alone_is_opened_where_it_is_pinned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance
) -> None:
    log.rotate()
    log.grow(1)
    home = Home(tmp_path / "home", capsys)
    key = tmp_path / "k"
    key.write_bytes(log.public_key)
    home.json(
        *("backend", "add", "old", "--origin", f"{HOST} - 1001", "--url", log.url),
        *("--public-key", key),
    )
    log.lies["log"] = lambda one: {**one, "signedTreeHead": resigned(log, log.active)}
    assert home.json("sync")["backends"][0]["acceptedSize"] == 5


def resigned(log: V1Instance, tree: Tree) -> str:
    """Return the head of a tree as an instance with another key would sign it."""
    return V1Instance(log.host, trees=[tree]).note(tree)


@pytest.mark.parametrize("end", ["retire", "revoke"])
def test_an_instance_whose_old_key_is_retired_at_its_active_tree(
    site: Site, tmp_path: Path, end: str
) -> None:
    """What is closed stays as the old key signed it; what grows is signed by the new one."""
    site.sync()
    site.log.rotate(grow=3)
    site.log.grow(2)
    site.said()
    closed, signer = site.log.note(site.log.trees[0]), site.log.key
    [old] = site.json("backend", "key", "list", "sigstore-prod")["keys"]
    site.log.key = ec.generate_private_key(ec.SECP256R1())
    new = tmp_path / "new.pub"
    new.write_bytes(site.log.public_key)
    site.json(
        *("backend", "add", "sigstore-prod", "--origin", HOST),
        *("--url", site.log.url, "--public-key", new, "--another-key"),
    )
    site.run("backend", "key", end, "sigstore-prod", old["keyId"], "--reason", "rotated")

    def as_closed(answer: Any) -> Any:
        first, *others = answer["inactiveShards"]
        return {**answer, "inactiveShards": [{**first, "signedTreeHead": closed}, *others]}

    site.log.lies["log"] = as_closed
    site.log.grow(1)
    assert site.sync()["acceptedSize"] == 3
    site.log.rotate(grow=1)
    site.log.grow(2)
    site.said()
    assert site.stands_at() == ("1003", 2)
    site.log.grow(1, site.log.trees[0])
    site.log.lies["log"] = lambda one: by_the_old_key(site.log, one, signer)
    site.said(expect=0 if end == "retire" else 8)


def by_the_old_key(log: V1Instance, answer: Any, key: ec.EllipticCurvePrivateKey) -> Any:
    """Return an answer with the head of the first tree as it is, by another key."""
    first, *others = answer["inactiveShards"]
    old = V1Instance(log.host, key=key, trees=log.trees)
    return {
        **answer,
        "inactiveShards": [{**first, "signedTreeHead": old.note(log.trees[0])}, *others],
    }


# An instance that nobody had said was one.


def test_an_unknown_host_is_found_to_be_an_instance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with v1_instance("rekor.internal.example") as log:
        log.grow(3)
        site = Site(tmp_path, capsys, log)
        [before] = site.json("backend", "list")["backends"]
        done = site.sync()
        assert (before["apiVersion"], done["origin"]) == (None, "rekor.internal.example - 1001")
        [after] = site.json("backend", "list")["backends"]
        assert after["apiVersion"] == 1
        log.grow(3)
        assert site.sync()["acceptedSize"] == 6


def test_whoever_cannot_sign_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with v1_instance("rekor.internal.example") as log:
        log.grow(3)
        site = Site(tmp_path, capsys, log)
        log.key = ec.generate_private_key(ec.SECP256R1())
        assert "1001" in site.sync(expect=3)["message"]
        [after] = site.json("backend", "list")["backends"]
        assert (after["apiVersion"], after["origin"]) == (None, "rekor.internal.example")


# Liars.


def test_hashes_in_the_wrong_order(site: Site) -> None:
    site.sync()
    site.log.grow(9)
    site.log.lies["proof"] = lambda one: {**one, "hashes": one["hashes"][::-1]}
    assert "consistency proof from 5 to 14" in site.sync(expect=3)["message"]
    assert (site.stands_at(), site.alerts()) == (("1001", 5), [])
    del site.log.lies["proof"]
    assert site.sync()["acceptedSize"] == 14


@pytest.mark.parametrize(
    "hashes",
    [[], ["00"], ["zz" * 32], [7], None, "x", ["00" * 32] * 200],
    ids=["none", "short", "no hex", "number", "null", "text", "many"],
)
def test_hashes_that_are_none(site: Site, hashes: Any) -> None:
    site.sync()
    site.log.grow(9)
    site.log.lies["proof"] = lambda one: {**one, "hashes": hashes}
    site.sync(expect=3)
    assert site.stands_at() == ("1001", 5)


def test_another_root_at_the_same_size(site: Site) -> None:
    site.sync()
    forge(site.log.active)
    assert "RootHashMismatch at size 5" in site.sync(expect=4)["message"]
    assert site.alerts() == ["RootHashMismatch"]
    assert site.stands_at() == ("1001", 5)


@pytest.mark.parametrize("size", [5, 7, 8])
def test_a_fork(site: Site, size: int) -> None:
    """Also at a power of two, whose root no proof from it would show."""
    site.log.grow(size - 5)
    site.sync()
    forge(site.log.active, at=2)
    site.log.grow(6)
    assert f"TreeFork at size {size}" in site.sync(expect=4)["message"]
    assert site.alerts() == ["TreeFork"]
    assert site.sizes() == {"1001": [size]}
    [held] = site.json("quarantine", "list")["quarantines"]
    assert held["lastCommonSize"] == 0


def test_what_both_stories_share_is_found_by_their_proofs(site: Site) -> None:
    for _ in range(4):
        site.sync()
        site.log.grow(3)
    site.sync()  # 5, 8, 11, 14, 17
    forge(site.log.active, at=12)
    site.log.grow(6)
    site.sync(expect=4)
    [held] = site.json("quarantine", "list")["quarantines"]
    assert held["lastCommonSize"] == 11


def test_a_fork_that_nothing_can_show(site: Site) -> None:
    site.log.grow(3)
    site.sync()  # 8
    forge(site.log.active)
    site.log.grow(1)  # no size is between
    site.sync(expect=3)
    assert site.stands_at() == ("1001", 8)


def test_an_older_head_of_another_tree(site: Site) -> None:
    site.log.grow(6)
    site.sync()
    honest = site.log.active
    forged = Tree(honest.tree_id, list(honest.bodies[:9]))
    forge(forged)
    site.log.lies["log"] = lambda one: {**one, "signedTreeHead": site.log.note(forged)}
    assert "TreeSizeRollback at size 9" in site.sync(expect=4)["message"]
    assert site.alerts() == ["TreeSizeRollback"]
    assert site.stands_at() == ("1001", 11)


def test_another_key(site: Site) -> None:
    site.sync()
    site.log.grow(1)
    site.log.key = ec.generate_private_key(ec.SECP256R1())
    site.sync(expect=3)
    assert site.stands_at() == ("1001", 5)


def test_a_head_of_another_tree_than_it_is_called(site: Site) -> None:
    site.log.lies["log"] = lambda one: {**one, "treeID": "77"}
    assert site.sync(expect=3)["reason"] == "wrong-origin"
    assert site.sizes() == {}


def test_the_tree_that_was_followed_is_missing(site: Site) -> None:
    site.sync()
    site.log.rotate(grow=3)
    site.log.grow(2)
    site.log.lies["log"] = lambda one: {**one, "inactiveShards": []}
    error = site.sync(expect=5)
    assert (error["reason"], site.stands_at()) == ("shard-missing", ("1001", 5))
    assert site.sizes() == {"1001": [5]}
    del site.log.lies["log"]
    site.said()
    assert site.stands_at() == ("1002", 2)


def test_an_older_tree_is_missing(site: Site) -> None:
    site.log.rotate()
    site.log.grow(2)
    site.sync()
    site.log.lies["log"] = lambda one: {**one, "inactiveShards": []}
    assert f"{HOST} - 1001 is not among the inactive shards any more" in site.said()


def test_a_tree_that_ends_otherwise_than_it_was(site: Site) -> None:
    site.sync()
    old = site.log.active
    site.log.rotate(grow=3)
    site.log.grow(2)
    forge(old, at=1)
    assert f"{HOST} - 1001 contradicts itself" in site.sync(expect=4)["message"]
    assert site.stands_at() == ("1001", 5)
    assert "1002" not in site.sizes()


def test_a_closed_tree_that_grows(site: Site) -> None:
    site.sync()
    old = site.log.active
    site.log.rotate(grow=3)
    site.log.grow(2)
    site.said()
    site.log.grow(4, old)
    assert f"{HOST} - 1001 was closed at 8 entries, and 12 are offered now" in site.said()
    assert site.sizes()["1001"] == [5, 8, 12]


def test_a_closed_tree_that_is_rewritten(site: Site) -> None:
    site.sync()
    old = site.log.active
    site.log.rotate(grow=3)
    site.said()
    forge(old)
    assert "RootHashMismatch at size 8" in site.sync(expect=4)["message"]


def test_offsets_that_do_not_add_up(site: Site) -> None:
    site.sync()
    site.log.rotate(grow=3)
    site.log.grow(2)

    tree = site.log.active
    site.log.entry = lambda at: site.log.signed_entry(tree, (at - 9) % 2, 9 + (at - 9) % 2)  # type: ignore[method-assign,assignment]
    text = site.said()
    warned = (
        f"{HOST} - 1002 begins after 9 entries, as the log signed; the sizes of the inactive"
        " shards before it add up to 8"
    )
    assert warned in text
    assert warned in site.said(), "at every sync"


@pytest.mark.parametrize("what", ["promise", "place", "key", "none"])
def test_where_a_tree_begins_is_taken_from_what_the_log_signed_alone(site: Site, what: str) -> None:
    site.sync()
    site.log.rotate(grow=3)
    site.log.grow(2)

    def shifted(answer: Any) -> Any:
        [(uuid, value)] = answer.items()
        if what == "promise":
            value["logIndex"] -= 1
        elif what == "place":
            value["verification"]["inclusionProof"]["logIndex"] -= 1
        elif what == "key":
            other = V1Instance(HOST, trees=site.log.trees)
            value = next(iter(other.signed_entry(site.log.active, 1, 8).values())) | {
                "verification": value["verification"]
            }
        else:
            del value["verification"]["signedEntryTimestamp"]
        return {uuid: value}

    if what == "place":  # it grows in between: one place further on, there is an entry, too
        older = site.log.note(site.log.active)
        site.log.grow(1)
        site.log.lies["log"] = lambda one: {**one, "signedTreeHead": older}
    site.log.lies["entry"] = shifted
    assert f"where {HOST} - 1002 begins could not be compared" in site.said()
    site.log.grow(1)
    site.log.lies.clear()
    assert "begins" not in site.said()
    assert "begins" not in site.said()


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (lambda one: [], 7),  # nothing shows that it is an instance
        (lambda one: {**one, "inactiveShards": {}}, 3),
        (lambda one: {**one, "treeID": 7}, 3),
        (lambda one: {**one, "treeID": "-7"}, 3),
        (lambda one: {**one, "signedTreeHead": None}, 3),
        (lambda one: {**one, "inactiveShards": [one]}, 3),
        (lambda one: {**one, "treeSize": "many", "rootHash": 7}, 0),  # nobody reads these
    ],
    ids=["list", "shards", "number", "negative", "no head", "twice", "unsigned copies"],
)
def test_an_answer_that_is_none(site: Site, lie: Any, code: int) -> None:
    site.log.lies["log"] = lie
    if code:
        site.sync(expect=code)
    else:
        assert site.sync()["acceptedSize"] == 5
    assert site.sizes() == ({} if code else {"1001": [5]})


def test_no_tiles_are_to_be_had(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "MAX_ENTRIES", 4)  # of a log of billions it is 100,000
    site.sync()
    error = site.json("sync", "--backend", "sigstore-prod", "--full-tiles", expect=8)
    assert error["reason"] == "no-tiles"
    assert "--for BUNDLE" in error["next"]


def test_the_configuration_blocks_load_and_say_what_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance
) -> None:
    home = Home(tmp_path / "home", capsys)
    (tmp_path / "k").write_bytes(log.public_key)
    backend = {"id": "sigstore-prod", "origin": HOST, "baseUrl": log.url, "publicKeyPath": "k"}
    file = tmp_path / "site.yaml"
    file.write_text(json.dumps({"attestor": {"rekorSync": {"backends": [backend]}}}))
    home.json("config", "apply", file)
    home.json("sync")
    before = home.json("config", "show")
    again = home.json("config", "apply", file)
    assert home.json("config", "show") == before
    assert again["changes"] == [], again
    assert f"origin: {HOST}\n" in home.run("config", "show")[1]


# What of it is in Sigstore bundles.


def bundle_of(entry: Any, content: bytes, signature: str) -> dict[str, Any]:
    """Make the Sigstore bundle of a hashedrekord entry, as the API answers with it."""
    proof = entry["verification"]["inclusionProof"]

    def binary(text: str) -> str:
        return b64encode(bytes.fromhex(text)).decode()

    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": ""},
            "tlogEntries": [
                {
                    "logIndex": str(entry["logIndex"]),
                    "logId": {"keyId": binary(entry["logID"])},
                    "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
                    "integratedTime": str(entry["integratedTime"]),
                    "inclusionPromise": {
                        "signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]
                    },
                    "inclusionProof": {
                        "logIndex": str(proof["logIndex"]),
                        "rootHash": binary(proof["rootHash"]),
                        "treeSize": str(proof["treeSize"]),
                        "hashes": [binary(one) for one in proof["hashes"]],
                        "checkpoint": {"envelope": proof["checkpoint"]},
                    },
                    "canonicalizedBody": entry["body"],
                }
            ],
        },
        "messageSignature": {
            "messageDigest": {
                "algorithm": "SHA2_256",
                "digest": b64encode(sha256(content).digest()).decode(),
            },
            "signature": signature,
        },
    }


class Signed:
    """An artifact that is logged in the instance, and its bundle as of now."""

    def __init__(self, directory: Path, log: V1Instance, name: str = "artifact") -> None:
        key, content = ec.generate_private_key(ec.SECP256R1()), name.encode()
        proposal = hashedrekord(key, content)
        self.log, self.directory, self.name = log, directory, name
        self.index = sum(len(tree.bodies) for tree in log.trees)
        log.active.bodies.append(canonical_body(proposal))
        self.artifact, self.key = directory / name, directory / f"{name}.pub"
        self.artifact.write_bytes(content)
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key.write_bytes(pem)
        self.signature = json.loads(proposal)["spec"]["signature"]["content"]

    def bundle(self) -> Path:
        """Write a bundle with the proof that the log gives now."""
        answer = self.log.entry(self.index)
        assert answer is not None
        [(_, entry)] = answer.items()
        made = bundle_of(entry, self.artifact.read_bytes(), self.signature)
        tree_size = entry["verification"]["inclusionProof"]["treeSize"]
        file = self.directory / f"{self.name}.{tree_size}.json"
        file.write_text(json.dumps(made))
        return file

    def verified(self, site: Site, bundle: Path, expect: int = 0, *options: str) -> str:
        words = ("verify", self.artifact, "--bundle", bundle, "--key", self.key)
        code, out, err = site.run(*words, *options)
        assert code == expect, out + err
        return out + err


def test_a_bundle_is_compared_with_our_own_view(site: Site, tmp_path: Path) -> None:
    signed = Signed(tmp_path, site.log)
    bundle = signed.bundle()  # of 6 entries
    site.log.grow(4)
    site.sync()
    assert "not covered" in signed.verified(site, bundle)
    signed.verified(site, bundle, 5, "--require-mirror")
    done = site.json("sync", "--for", bundle)
    assert done["bundles"] == [
        {"file": str(bundle), "origin": f"{HOST} - 1001", "treeSize": 6, "proven": True}
    ]
    assert "covered by our mirror up to 10" in signed.verified(site, bundle)
    signed.verified(site, bundle, 0, "--require-mirror")
    assert site.sizes() == {"1001": [6, 10]}


def test_a_bundle_of_a_size_that_we_hold_needs_nothing_more(site: Site, tmp_path: Path) -> None:
    signed = Signed(tmp_path, site.log)
    bundle = signed.bundle()
    site.sync()
    signed.verified(site, bundle, 0, "--require-mirror")


def test_a_bundle_of_a_closed_tree(site: Site, tmp_path: Path) -> None:
    signed = Signed(tmp_path, site.log)
    bundle = signed.bundle()
    site.log.rotate(grow=3)
    site.log.grow(1)
    site.json("sync", "--for", bundle)  # the first sync of all
    signed.verified(site, bundle, 0, "--require-mirror")
    site.sync()
    later = signed.bundle()  # of the final size
    signed.verified(site, later, 0, "--require-mirror")


def test_a_report_has_the_proof_of_a_bundle_of_whichever_tree(site: Site, tmp_path: Path) -> None:
    site.sync()
    site.log.rotate(grow=3)
    signed = Signed(tmp_path, site.log)
    site.said()
    signed.verified(site, signed.bundle(), 0, "--record")
    [verdict] = site.json("report")["verdicts"]
    assert verdict["proof"]["origin"] == f"{HOST} - 1002"


@pytest.mark.parametrize("grow", [0, 2])
def test_a_bundle_from_another_tree_of_the_same_key(site: Site, tmp_path: Path, grow: int) -> None:
    """A split view: the victim's bundle verifies by itself, and our mirror shows the lie."""
    site.sync()
    honest = site.log.active
    forged = Tree(honest.tree_id, list(honest.bodies))
    site.log.trees[-1] = forged
    signed = Signed(tmp_path, site.log)
    site.log.grow(grow)
    bundle = signed.bundle()
    site.log.trees[-1] = honest
    site.log.grow(3 + grow)
    assert "not covered" in signed.verified(site, bundle)
    error = site.json("sync", "--for", bundle, expect=4)
    assert "RootHashMismatch" in error["message"]
    assert site.alerts() == ["RootHashMismatch"]
    signed.verified(site, bundle, 4)  # the proofs that were kept show the root of our tree there


def test_a_recorded_verification_is_proven_by_the_next_sync(site: Site, tmp_path: Path) -> None:
    signed = Signed(tmp_path, site.log)
    bundle = signed.bundle()
    site.log.grow(4)
    site.sync()
    signed.verified(site, bundle, 0, "--record")
    site.sync()
    signed.verified(site, bundle, 0, "--require-mirror")


def test_a_bundle_whose_log_is_not_here_stays_unproven(site: Site, tmp_path: Path) -> None:
    with v1_instance("elsewhere.example") as other:
        signed = Signed(tmp_path, other)
        assert site.json("sync", "--for", signed.bundle(), expect=5)["reason"] == "not-proven"


def test_a_log_that_will_not_prove_lets_it_wait(site: Site, tmp_path: Path) -> None:
    signed = Signed(tmp_path, site.log)
    bundle = signed.bundle()
    site.log.grow(4)
    site.sync()
    site.log.lies["proof"] = lambda one: {**one, "hashes": one["hashes"][::-1]}
    assert site.json("sync", "--for", bundle, expect=5)["reason"] == "not-proven"
    del site.log.lies["proof"]
    site.sync()
    signed.verified(site, bundle, 0, "--require-mirror")


# An instance whose key is over, as the trusted root says.


def test_an_instance_that_has_ended_is_asked_once_a_week(site: Site) -> None:
    site.sync()
    store = open_store(site.path, write=True)
    with store.atomic():
        log = require_log(store, f"{HOST} - 1001")
        put_window(store, log, log.keys[0].spki, None, site.now)
    store.close()

    def is_asked(after: int) -> bool:
        before = len(site.log.asked)
        site.now += after
        site.app = replaced(site.app, now=lambda: site.now)
        site.json("sync")
        return len(site.log.asked) > before

    assert is_asked(300), "it says once more that nothing follows"
    assert not is_asked(300), "there are no tiles to wait for"
    assert not is_asked(6 * 86_400)
    assert is_asked(2 * 86_400)


# A home that followed an instance before proofs were kept.


def without_kept_proofs(site: Site) -> None:
    """Take a home back to the schema that kept none, and open it with this one's."""
    site.log.rotate(grow=3)
    for more in (1, 2, 9, 20):
        site.log.grow(more)
        site.sync()
    with sqlite3.connect(site.path / "attestor.db") as database:
        for name, tables in (
            ("034_lacking_proof", ["lacking_proof"]),
            ("029_proven_range", ["proven_range"]),
        ):
            for table in tables:
                database.execute(f"DROP TABLE {table}")
            database.execute("DELETE FROM _sqlite_migrations WHERE name = ?", [name])
    site.json("init")


def provable(site: Site) -> dict[str, int]:
    """Count the checkpoints of each tree that are proven offline."""
    found = {}
    for tree in site.sizes():
        command = ("checkpoints", "verify", "--origin", f"{HOST} - {tree}", "--json")
        found[tree] = json.loads(site.run(*command)[1])["data"]["proven"]
    return found


def test_proofs_that_an_older_version_did_not_keep_are_fetched(site: Site) -> None:
    site.sync()
    without_kept_proofs(site)
    assert site.sizes() == {"1001": [5, 8], "1002": [1, 3, 12, 32]}
    assert provable(site) == {"1001": 1, "1002": 1}, "the newest of each, as it stands"
    assert "were accepted before" not in site.said()
    assert provable(site) == {"1001": 2, "1002": 4}
    asked = len(site.log.asked)
    site.sync()
    assert not [path for path in site.log.asked[asked:] if "proof" in path], "and never again"


def test_proofs_that_the_log_does_not_give_are_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sync()
    without_kept_proofs(site)
    site.log.lies["proof"] = lambda answer: {**answer, "hashes": answer["hashes"][::-1]}
    said = site.said()
    assert "3 of its checkpoints (1, 3, 12) were accepted before proofs were kept" in said
    assert "'export --base' and 'prove --from-size' of these sizes end 5 until the log" in said
    error = site.json("prove", "--origin", f"{HOST} - 1002", "--from-size", "3", expect=5)
    assert error["reason"] == "no-proof"
    del site.log.lies["proof"]
    monkeypatch.setattr(older_proofs, "AT_ONCE", 2)
    assert "1 of its checkpoints (12)" in site.said()
    assert "were accepted before" not in site.said()
    assert provable(site) == {"1001": 2, "1002": 4}
