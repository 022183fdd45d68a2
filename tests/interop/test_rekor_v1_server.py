"""The real Rekor v1 server with three shards: followed, carried, fetched from, written to."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.jobs.home.init import init_home
from appliance.runs.session import Session
from tests.cli.homes import Home
from tests.interop.rekor_v1_server import HOST, RekorV1, rekor_v1
from tests.mirror.test_rekor_v1 import bundle_of
from tests.queue.signed_files import write_artifact

pytestmark = pytest.mark.interop


class Site(Home):
    """A home that follows the instance by its bare host name."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], server: RekorV1, role: str
    ) -> None:
        self.path, self.capsys = path, capsys
        random = b"\x05" if role == "connected" else b"\x06"
        self.app = Session(
            home=path, now=lambda: int(time.time()), random_bytes=lambda n: random * n
        )
        init_home(path, f"{role}.example", role, lambda n: random * n)
        url = ("--url", server.url) if role == "connected" else ()
        added = ("backend", "add", "v1", "--origin", HOST, "--public-key", server.public_key)
        self.json(*added, *url)

    def sync(self, *options: str | Path) -> Any:
        return self.json("sync", "--backend", "v1", *options)["backends"][0]

    def sizes(self) -> dict[str, int]:
        found = self.json("checkpoints", "list")["checkpoints"]
        return {
            one["origin"].rpartition(" ")[2]: one["treeSize"]
            for one in sorted(found, key=lambda one: int(one["treeSize"]))
        }


def test_three_shards_of_the_real_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with rekor_v1(tmp_path / "server") as server:
        home = Site(tmp_path / "home", capsys, server, "connected")
        far = Site(tmp_path / "far", capsys, server, "isolated")
        [exporter] = home.json("key", "list")["keys"]
        far.json("exporters", "add", exporter["vkey"])
        home.json("backend", "verify-key", "v1")

        def carry(name: str) -> Any:
            file = tmp_path / name
            home.json("export", "--backend", "v1", "--output", file)
            return far.json("import", file)["imports"][0]["logs"]

        bodies: dict[str, list[str]] = {}
        for shard, count in enumerate((5, 4, 3)):
            if shard:
                server.log(b"the last of it", key)  # after our last look at the tree
                server.rotate()
            logged = [server.log(f"{shard}/{number}".encode(), key) for number in range(count)]
            done = home.sync()
            assert done["origin"] == f"{HOST} - {server.tree_id}"
            assert done["acceptedSize"] == count
            bodies[server.tree_id] = [one["body"] for one in logged]
            relations = [one["relation"] for one in carry(f"{shard}.tar")]
            assert relations[-1] == "first"
        first, second = (tree for tree, _ in server.closed)
        sizes = {first: 6, second: 5, server.tree_id: 3}
        assert home.sizes() == far.sizes() == sizes
        assert server.closed == [(first, 6), (second, 5)]
        for site in (home, far):
            for tree in sizes:
                site.json("checkpoints", "verify", "--origin", f"{HOST} - {tree}")

        # A window of the third tree, and all of all three.
        window = home.sync("--from", "1", "--count", "2")["windows"][0]
        assert (window["count"], window["fetched"]) == (2, 2)
        windows = home.sync("--full-tiles")["windows"]
        assert [one["count"] for one in windows] == [6, 5, 3]
        for tree, answered in bodies.items():
            for index in range(len(answered)):
                command = ("--origin", f"{HOST} - {tree}", "--index", str(index))
                shown = home.json("entries", "show", *command)
                assert json.loads(shown["body"]) == json.loads(_text(answered[index]))
                home.json("prove", *command)

        # Written to: the queue and a published digest, each proven under the pinned key.
        home.json("config", "set", "rekor.serverUrl", server.url)
        files = write_artifact(tmp_path, b"queued artifact")
        item = home.json("queue", "add", *files)
        home.json("queue", "drain")
        bundle = tmp_path / "queued.sigstore.json"
        home.json("queue", "bundle", item["id"], "--output", bundle)
        home.sync("--for", bundle)
        said = home.run("verify", files[1], "--bundle", bundle, "--key", files[5])
        assert (said[0], "covered by our mirror" in said[1]) == (0, True), said
        home.json("key", "generate", "publisher.example", "--type", "publisher")
        home.json("config", "set", "publish.rekorUrl", server.url)
        home.json("publish", "ab" * 32)
        home.sync()
        assert home.sizes()[server.tree_id] == 5


SIZES = (23, 12, 30)  # of the trees, once each is closed; the windows go over 256 nowhere


def test_windows_over_three_trees_cross_the_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An index over all trees finds its entry outside and inside; what is signed is verified."""
    key = ec.generate_private_key(ec.SECP256R1())
    with rekor_v1(tmp_path / "server") as server:
        home = Site(tmp_path / "home", capsys, server, "connected")
        far = Site(tmp_path / "far", capsys, server, "isolated")
        [exporter] = home.json("key", "list")["keys"]
        far.json("exporters", "add", exporter["vkey"])
        trees: list[str] = []
        for shard, size in enumerate(SIZES):
            if shard:  # opened while we follow
                server.rotate()
            trees.append(server.tree_id)
            for number in range(size):
                server.log(f"{shard}/{number}".encode(), key)
                if number in (0, size // 2):
                    assert home.sync()["origin"] == f"{HOST} - {server.tree_id}"
        home.sync()
        assert home.sizes() == dict(zip(trees, SIZES, strict=True))
        begins = (0, SIZES[0], SIZES[0] + SIZES[1])

        # Windows of each tree, by the index over all of them: at its ends, and across no border.
        wanted = [
            (first, count, shard)
            for shard, (begin, size) in enumerate(zip(begins, SIZES, strict=True))
            for first, count in ((begin, 3), (begin + size // 2, 1), (begin + size - 2, 2))
        ]
        for first, count, shard in wanted:
            options = ("--log-index", str(first), "--count", str(count))
            [done] = home.sync(*options)["windows"]
            assert (done["origin"], done["count"]) == (f"{HOST} - {trees[shard]}", count)
            assert (done["before"], done["first"]) == (begins[shard], first - begins[shard])
        error = home.json(
            *("sync", "--backend", "v1", "--log-index", str(begins[1] - 1), "--count", "2"),
            expect=5,
        )
        assert f"{trees[0]} has {SIZES[0]} entries" in error["message"]

        # A bundle of an entry whose checkpoint we never saw: proven by the real server's proof.
        signed = [_Signed(tmp_path, server, key, begins[shard] + 1, shard) for shard in range(3)]
        for one in signed:
            placed = home.json("sync", "--for", one.bundle)["bundles"]
            assert [each["proven"] for each in placed] == [True]
            one.verifies(home)

        stick = tmp_path / "stick.tar"
        home.json("export", "--backend", "v1", "--output", stick)
        told = far.json("inspect", stick)["windows"]
        assert sum(one["entries"] for one in told) == sum(count for _, count, _ in wanted)
        far.json("import", stick)
        far.json("index", "build")
        asked = server.state()["treeSize"]
        for site in (home, far):
            site.json("index", "build")
            for first, count, shard in wanted:
                for log_index in range(first, first + count):
                    _is_the_servers(site, server, log_index, trees[shard], tmp_path)
            for one in signed:
                one.verifies(site)
                found = site.json("entries", "search", "--artifact", one.artifact)["hits"]
                assert [hit["index"] for hit in found] == [1]
            listed = site.json("entries", "list", "--log-index", str(begins[1]), "--count", "3")
            assert [one["logIndex"] for one in listed["hits"]] == list(
                range(begins[1], begins[1] + 3)
            )
            lacking = str(begins[1] + 4)
            assert site.json("prove", "--log-index", lacking, expect=5)["reason"] == "no-proof"
        assert server.state()["treeSize"] == asked

        # The whole of a private instance, audited, and carried as archives.
        windows = home.sync("--full-tiles")["windows"]
        assert [one["count"] for one in windows] == list(SIZES)
        audited = home.json("tiles", "verify")["logs"]
        assert sorted(one["entries"] for one in audited) == sorted(SIZES)
        whole = tmp_path / "whole.tar"
        home.json("export", "--backend", "v1", "--base", "all", "--output", whole)
        far.json("import", whole)
        audited = far.json("tiles", "verify")["logs"]
        assert sorted(one["entries"] for one in audited) == sorted(SIZES)
        for tree in trees:
            for site in (home, far):
                checked = site.json("checkpoints", "verify", "--origin", f"{HOST} - {tree}")
                assert checked["proven"] == checked["checkpoints"]


def _is_the_servers(
    site: Site, server: RekorV1, log_index: int, tree: str, directory: Path
) -> None:
    """Compare an entry that is read and proven offline with what the real server says of it."""
    answered = server.entry(log_index)
    shown = site.json("entries", "show", "--log-index", str(log_index))
    proof = answered["verification"]["inclusionProof"]
    assert (shown["origin"], shown["index"]) == (f"{HOST} - {tree}", proof["logIndex"])
    assert json.loads(shown["body"]) == json.loads(_text(answered["body"]))
    ours, entry = directory / "ours", directory / "entry"
    ours.unlink(missing_ok=True)
    entry.write_bytes(b64decode(answered["body"]))
    site.json("prove", "--log-index", str(log_index), "--output", ours)
    assert site.json("proof", "verify", ours, "--entry", entry)["index"] == proof["logIndex"]


class _Signed:
    """What was signed for one entry of the server, with its Sigstore bundle as of now."""

    def __init__(
        self,
        directory: Path,
        server: RekorV1,
        key: ec.EllipticCurvePrivateKey,
        log_index: int,
        shard: int,
    ) -> None:
        entry = server.entry(log_index)
        content = f"{shard}/1".encode()
        self.artifact = directory / f"artifact-{shard}"
        self.artifact.write_bytes(content)
        self.bundle = directory / f"artifact-{shard}.json"
        signature = json.loads(_text(entry["body"]))["spec"]["signature"]["content"]
        self.bundle.write_text(json.dumps(bundle_of(entry, content, signature)))
        self.key = directory / "signer.pub"
        self.key.write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def verifies(self, site: Site) -> None:
        """Verify it, covered by the site's own view of the tree."""
        words = ("verify", self.artifact, "--bundle", self.bundle, "--key", self.key)
        code, out, err = site.run(*words, "--require-mirror")
        assert (code, "covered by our mirror" in out) == (0, True), out + err


def _text(body: str) -> str:
    return b64decode(body).decode()
