"""The whole way by commands: a served log, a mirror, a stick, an isolated site."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from tests.mirror.mirrors import NOW
from tests.signed_artifacts import SIGNER_PEM, bundle_of, log_request, sign_request
from tests.simulator import SimulatedLog


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class World:
    """Two homes and a log on a loopback port; commands by name."""

    def __init__(self, directory: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.url = url
        self.capsys = capsys
        self.log = SimulatedLog()
        self.log_key = directory / "log.vkey"
        self.log_key.write_text(self.log.key.vkey + "\n")
        self.now = NOW

    def publish(self) -> None:
        self.log.write_static(self.directory / "www")

    def run(self, home: str, *arguments: str | Path, expect: int = 0) -> dict[str, Any]:
        app = Session(home=self.directory / home, now=lambda: self.now, sleep=lambda _: None)
        code = run([*map(str, arguments), "--json"], app)
        out, _ = self.capsys.readouterr()
        answer: dict[str, Any] = json.loads(out)
        assert code == expect, answer
        assert answer["exitCode"] == expect and answer["ok"] == (expect == 0)
        return answer

    def set_up(self) -> None:
        self.run("outside", "init", "--site", "outside.example")
        self.run("inside", "init", "--site", "inside.example", "--role", "isolated")
        pinned = ("--origin", self.log.origin, "--public-key", self.log_key)
        self.run("outside", "backend", "add", "sim", *pinned, "--read-url", self.url)
        self.run("inside", "backend", "add", "sim", *pinned)
        vkey = self.run("outside", "key", "show", "outside.example")["data"]["vkey"]
        self.run("inside", "exporters", "add", vkey)


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    www = tmp_path / "www"
    www.mkdir()
    handler = functools.partial(_Quiet, directory=str(www))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield World(tmp_path, f"http://127.0.0.1:{server.server_port}/", capsys)
        server.shutdown()
        thread.join()


def test_from_a_served_log_to_a_verdict_behind_the_gap(world: World, tmp_path: Path) -> None:
    world.log.grow(300)
    request = sign_request(b"release\n")
    index = log_request(world.log, request)
    world.publish()
    world.set_up()
    synced = world.run("outside", "sync", "--entries")["data"]["backends"][0]
    assert (synced["relation"], synced["mirrorSize"], synced["change"]) == ("first", 301, True)
    again = world.run("outside", "sync", "--entries")["data"]["backends"][0]
    assert (again["relation"], again["change"]) == ("same", False)

    stick = tmp_path / "stick.tar"
    exported = world.run("outside", "export", "--include-entries", "--output", stick)["data"]
    assert exported["logs"][0]["headSize"] == 301 and exported["signers"] == ["outside.example"]
    claimed = world.run("anywhere", "inspect", stick)["data"]
    assert claimed["verified"] is False and claimed["bundleId"] == exported["bundleId"]

    dry = world.run("inside", "import", "--dry-run", stick)["data"]["imports"][0]
    planned = dry["logs"][0]
    assert planned["need"] == planned["total"] == 2 + 1 + 2 and planned["have"] == 0
    assert planned["newSize"] is None
    imported = world.run("inside", "import", stick)["data"]["imports"][0]
    assert (imported["logs"][0]["newSize"], imported["already"]) == (301, False)
    dry = world.run("inside", "import", "--dry-run", stick)["data"]["imports"][0]["logs"][0]
    assert (dry["total"], dry["have"], dry["need"]) == (5, 5, 0)
    again = world.run("inside", "import", stick)["data"]["imports"][0]
    assert again["already"] and again["logs"][0]["change"] is False

    artifact, key = tmp_path / "app.bin", tmp_path / "signer.pem"
    artifact.write_bytes(b"release\n")
    key.write_bytes(SIGNER_PEM)
    Path(f"{artifact}.sigstore.json").write_bytes(bundle_of(world.log, request, index))
    verdict = world.run("inside", "verify", artifact, "--key", key, "--require-mirror")
    assert verdict["data"]["artifacts"][0]["ownView"]["coverage"] == "covered"

    proof, entry = tmp_path / "app.tlog-proof", tmp_path / "entry"
    entry.write_bytes(request.canonical_body)
    pinned = ("--origin", world.log.origin, "--index", str(index))
    world.run("inside", "prove", *pinned, "--output", proof)
    proven = world.run("inside", "proof", "verify", proof, "--entry", entry)
    assert proven["data"]["treeSize"] == 301
    entry.write_bytes(b"another")
    world.run("inside", "proof", "verify", proof, "--entry", entry, expect=3)
    upgraded = tmp_path / "upgraded.json"
    source = Path(f"{artifact}.sigstore.json")
    world.log.grow(5)
    world.publish()
    world.run("outside", "sync", "--entries")
    world.run(
        "outside",
        *("prove", "--origin", world.log.origin, "--bundle", source, "--upgrade", upgraded),
    )
    fresh = world.run("outside", "verify", artifact, "--bundle", upgraded, "--key", key)
    assert fresh["data"]["artifacts"][0]["log"]["treeSize"] == 306


def test_a_delta_and_a_lost_one(world: World, tmp_path: Path) -> None:
    world.log.grow(300)
    world.publish()
    world.set_up()
    world.run("outside", "sync")
    first = tmp_path / "first.tar.zst"
    world.run("outside", "export", "--full", "--output", first)
    world.run("inside", "import", first)
    for size in (400, 500):
        world.log.grow(size - world.log.head.tree_size)
        world.publish()
        world.run("outside", "sync")
        world.run(
            "outside",
            "export",
            "--since-size",
            str(size - 100),
            "--output",
            tmp_path / f"{size}.tar",
        )
    missing = world.run("inside", "import", tmp_path / "500.tar", expect=5)
    assert missing["error"]["reason"] == "missing-base"
    assert "--base 300" in missing["error"]["next"]
    answer = world.run("inside", "import", tmp_path / "400.tar", tmp_path / "500.tar")
    assert [one["logs"][0]["newSize"] for one in answer["data"]["imports"]] == [400, 500]


def test_a_log_that_forks_is_code_four_and_nothing_moves(world: World) -> None:
    world.log.grow(300)
    world.publish()
    world.set_up()
    world.run("outside", "sync")
    honest = world.log
    world.log = honest.fork(at=100)
    world.log.grow(50)
    world.publish()
    for _ in range(2):
        answer = world.run("outside", "sync", expect=4)
        assert answer["error"]["reason"] == "fork" and "evidence 1" in answer["error"]["next"]
    world.log = honest
    world.publish()
    exported = world.run("outside", "export", "--output", world.directory / "stick.tar")
    assert "contradicted itself" in exported["warnings"][0]
    # An honest answer alone explains nothing: somebody has to.
    assert world.run("outside", "sync", expect=8)["error"]["reason"] == "quarantined"
    world.run("outside", "quarantine", "lift", "1", "--reason", "a bad replica, now gone")
    assert world.run("outside", "sync")["data"]["backends"][0]["acceptedSize"] == 300


def test_a_damaged_stick_is_code_three_and_an_unknown_exporter_code_eight(
    world: World, tmp_path: Path
) -> None:
    world.log.grow(10)
    world.publish()
    world.set_up()
    world.run("outside", "sync")
    stick = tmp_path / "stick.tar"
    world.run("outside", "export", "--output", stick)
    data = bytearray(stick.read_bytes())
    data[-2000] ^= 1
    (tmp_path / "bad.tar").write_bytes(data)
    world.run("inside", "import", tmp_path / "bad.tar", expect=3)
    vkey = world.run("outside", "key", "show", "outside.example")["data"]["vkey"]
    world.run("inside", "exporters", "remove", vkey)
    answer = world.run("inside", "import", stick, expect=8)
    assert answer["error"]["reason"] == "unknown-exporter"
    answer = world.run("inside", "import", "--insecure-unsigned", stick)
    assert any("nobody's signature" in warning for warning in answer["warnings"])


def test_a_server_that_is_away_is_code_seven(world: World) -> None:
    world.set_up()
    answer = world.run("outside", "sync", expect=7)
    assert answer["error"]["reason"] == "not-found"


def test_another_run_holding_the_lock_is_code_75(world: World) -> None:
    world.log.grow(10)
    world.publish()
    world.set_up()
    with Session(home=world.directory / "outside").locked():
        answer = world.run("outside", "sync", expect=75)
    assert "pid" in answer["error"]["message"]
