"""The real Rekor v1 server with three shards: followed, carried, fetched from, written to."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.jobs.home.init import init_home
from appliance.runs.session import Session
from tests.cli.homes import Home
from tests.interop.rekor_v1_server import HOST, RekorV1, rekor_v1
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


def _text(body: str) -> str:
    return b64decode(body).decode()
