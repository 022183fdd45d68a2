"""attestor serve: the mirrors of a home, for machines that reach no other."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import pytest

from appliance.tlog.tile import EntryBundle, Tile
from tests.cli.homes import Home
from tests.cli.mirrored import MirroredHome

STORM_SECONDS = 4.0


class Server:
    """One `attestor serve`, a process of its own."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "appliance.cli.main", "--home", str(home)),
                *("serve", "--bind", "127.0.0.1:0", "--json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        line = self.process.stdout.readline() if ready else b""
        assert line, self.process.communicate()
        self.started = json.loads(line)["data"]
        self.url: str = self.started["url"]
        self.address = self.url.removeprefix("http://")

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        connection = HTTPConnection(self.address, timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> tuple[int, bytes]:
        self.process.send_signal(signal.SIGTERM)
        return self.process.returncode or 143, self.process.communicate(timeout=30)[1]


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    made = MirroredHome(tmp_path / "home", capsys, "connected")
    made.sync(700)
    return made


@pytest.fixture
def server(home: MirroredHome) -> Iterator[Server]:
    running = Server(home.path)
    yield running
    assert running.stop() == (143, b"")


def test_what_a_log_serves_is_served_for_it(home: MirroredHome, server: Server) -> None:
    log, root = home.log, home.log.head.root_hash.hex()
    hashed = sha256(log.origin.encode()).hexdigest()
    for name in ("sim", log.origin, hashed):
        for prefix in (f"/{name}/", f"/{name}/api/v2/"):
            assert server.ask(f"{prefix}checkpoint") == (200, log.answer("checkpoint"))
            for place in (Tile(0, 1), Tile(0, 2, 188), Tile(1, 0, 2), EntryBundle(2, 188)):
                assert server.ask(prefix + place.path) == (200, log.answer(place.path))
        described = json.loads(server.ask(f"/{name}/api/v2/log")[1])
        assert (described["treeSize"], described["rootHash"]) == (700, root)
    # What is cut out of something wider, and what there is not.
    for place in (Tile(0, 2, 7), EntryBundle(0, 3)):
        assert server.ask(f"/sim/{place.path}") == (200, log.answer(place.path))
    for path in ("tile/0/002", "tile/0/002.p/189", "tile/3/000", "tile/entries/003", "tile/x"):
        assert server.ask(f"/sim/{path}")[0] == 404, path
    for path in ("/", "/checkpoint", "/other/checkpoint", "/sim", "/sim/", "/sim/../sim/x"):
        assert server.ask(path)[0] == (200 if path == "/" else 404), path
    assert server.ask("/sim/checkpoint", "HEAD") == (200, b"")
    assert server.ask("/sim/checkpoint", "POST")[0] == 501
    [listed] = json.loads(server.ask("/")[1])["logs"]
    assert listed == {
        "id": "sim",
        "origin": log.origin,
        "path": "/sim/",
        "treeSize": 700,
        "rootHash": root,
        "quarantined": False,
    }
    assert server.ask("/healthz") == (200, b'{"status":"SERVING"}\n')
    measured, printed = server.ask("/metrics")[1].decode(), home.run("metrics")[1]
    assert {line.partition(" ")[0] for line in measured.split("\n")} == {
        line.partition(" ")[0] for line in printed.split("\n")
    }
    assert server.started["logs"] == [{"id": "sim", "origin": log.origin}]


def test_a_second_home_follows_it_and_sees_a_sync_at_once(
    home: MirroredHome, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = Home(tmp_path / "inside", capsys)
    key = tmp_path / "log.vkey"
    key.write_text(f"{home.log.key.vkey}\n")
    inside.json(
        *("backend", "add", "copy", "--origin", home.log.origin, "--public-key", key),
        *("--url", f"{server.url}/sim"),
    )
    for size in (700, 900, 901):
        home.sync(size - home.log.tree_size)
        [done] = inside.json("sync", "--full-tiles", "--entries")["backends"]
        assert (done["mirrorSize"], done["complete"]) == (size, True)


def test_a_log_in_quarantine_is_not_given_to_anybody(
    home: MirroredHome, server: Server, tmp_path: Path
) -> None:
    assert server.ask("/sim/checkpoint")[0] == 200
    twin = home.log.fork(at=400)
    note = tmp_path / "note"
    note.write_bytes(twin.checkpoint_at(650))
    home.json("checkpoint", "add", note, expect=4)
    for path in ("checkpoint", "tile/0/000", "tile/entries/000", "api/v2/log"):
        status, answer = server.ask(f"/sim/{path}")
        assert status == 503
        assert "contradicted itself" in json.loads(answer)["message"]
    assert json.loads(server.ask("/")[1])["logs"][0]["quarantined"] is True
    assert server.ask("/healthz")[0] == 200
    home.json("quarantine", "lift", "1", "--reason", "a test")
    assert server.ask("/sim/checkpoint")[0] == 200


def test_what_is_missing_or_damaged_here_is_said_plainly(
    home: MirroredHome, server: Server
) -> None:
    with home.mirror() as mirror, mirror.store.atomic():
        mirror.store.execute("DELETE FROM entry_bundle WHERE tile_index = 1")
    assert server.ask("/sim/tile/entries/001")[0] == 404
    with home.mirror() as mirror:
        digest = mirror.tile_digest(Tile(0, 0))
        assert digest is not None
        mirror.store.blobs.path(digest).write_bytes(bytes(8192))
    assert server.ask("/sim/tile/0/000")[0] == 503
    assert server.ask("/sim/tile/0/001")[0] == 200


def test_a_home_without_a_log_or_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Home(tmp_path / "empty", capsys)
    running = Server(empty.path)
    assert json.loads(running.ask("/")[1]) == {"logs": []}
    assert running.ask("/x/checkpoint")[0] == 404
    # The home goes away and comes back under the running server.
    (empty.path / "attestor.db").rename(tmp_path / "aside")
    assert running.ask("/healthz")[0] == 503
    (tmp_path / "aside").rename(empty.path / "attestor.db")
    assert running.ask("/healthz")[0] == 200
    running.stop()
    (empty.path / "attestor.db").unlink()
    assert empty.run("serve")[0] == 6
    assert empty.run("serve", "--bind", "nowhere")[0] == 2


def test_slow_clients_and_floods_hold_up_nobody(home: MirroredHome, server: Server) -> None:
    host, port = server.address.split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(200)]
    for one in idle[:100]:
        one.sendall(b"GET /sim/checkpoint HTTP/1.1\r\nHost: x\r\nX-Slow: ")  # and never ends
    ending = time.monotonic() + STORM_SECONDS

    def flood(_: int) -> int:
        answered = 0
        connection = HTTPConnection(server.address, timeout=30)
        while time.monotonic() < ending:
            connection.request("GET", "/sim/tile/0/000")
            answered += connection.getresponse().read() == home.log.answer("tile/0/000")
        connection.close()
        return answered

    def honest() -> list[float]:
        took = []
        while time.monotonic() < ending:
            before = time.monotonic()
            assert server.ask("/sim/checkpoint")[0] == 200
            took.append(time.monotonic() - before)
        return took

    with ThreadPoolExecutor(9) as pool:
        floods = pool.map(flood, range(8))
        took = sorted(pool.submit(honest).result())
        assert sum(floods) > 20
    for one in idle:
        one.close()
    assert took[int(len(took) * 0.99) - 1] < 1.0, took[-3:]
